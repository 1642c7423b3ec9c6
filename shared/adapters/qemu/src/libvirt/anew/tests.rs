use serde_json::json;

use super::*;

const OLD: &str = r#"<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>db-01</name>
  <uuid>c414c781-d010-44b9-86d1-5766d0a2f7dc</uuid>
  <genid>11111111-d010-44b9-86d1-5766d0a2f7dc</genid>
  <metadata><x:name xmlns:x="urn:x">db-01</x:name></metadata>
  <sysinfo type='smbios'><system><entry name='uuid'>c414c781-d010-44b9-86d1-5766d0a2f7dc</entry></system></sysinfo>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS.fd'>/var/lib/libvirt/qemu/nvram/db-01_VARS.fd</nvram>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' discard='unmap'><metadata_cache><max_size unit='bytes'>1</max_size></metadata_cache></driver>
      <source file='/vm/db-01/overlay.qcow2' index='2'><seclabel model='dac' relabel='no'/></source>
      <backingStore type='file'><format type='qcow2'/><source file='/vm/db-01/base.qcow2'/><backingStore/></backingStore>
      <target dev='vda' bus='virtio'/>
      <serial>A1</serial>
      <alias name='virtio-disk0'/>
    </disk>
    <disk type='block' device='lun' sgio='filtered'>
      <driver name='qemu' type='raw'/>
      <source dev='/dev/vg/db'/>
      <target dev='sdb' bus='scsi'/>
      <shareable/>
    </disk>
    <disk type='network' device='disk'><source protocol='rbd' name='p/c'/><target dev='vdc' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><source file='/iso/a.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
    <interface type='bridge'><mac address='52:54:00:aa:bb:01'/><source bridge='br0'/><alias name='ua-lan'/></interface>
    <interface type='bridge'><mac address='52:54:00:aa:bb:02'/><source bridge='br0'/></interface>
    <serial type='file'><source path='/var/log/vm/db-01.log' append='on'/><target port='0'/></serial>
    <channel type='unix'><source mode='bind' path='/run/db-01/agent'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <channel type='unix'><source mode='connect' path='/run/host/bus'/><target type='virtio' name='bus'/></channel>
    <graphics type='vnc' port='5907' autoport='no' passwd='secret'/>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
  </devices>
  <seclabel type='static' model='apparmor'><label>libvirt-c414c781</label></seclabel>
  <seclabel type='dynamic' model='dac' relabel='yes'/>
</domain>"#;

fn disk(name: &str, file: &str, format: &'static str) -> RestoredDisk {
    RestoredDisk { name: name.parse().unwrap(), file: file.into(), format }
}

fn defined(xml: &str, disks: &[RestoredDisk], fresh: bool) -> Definition {
    defined_with(xml, disks, fresh, None)
}

fn defined_with(xml: &str, disks: &[RestoredDisk], fresh: bool, firmware_variables: Option<&Path>) -> Definition {
    let configuration = json!({ "domain_xml": xml }).to_string();
    let mut count = 0;
    let mac = Box::new(move || {
        count += 1;
        format!("52:54:00:00:00:{count:02}")
    });
    let fresh = fresh.then(|| Identity { uuid: "99999999-d010-44b9-86d1-5766d0a2f7dc".to_owned(), mac });
    let folder = Path::new("/vm/db & 02");
    NewDomain { configuration: &configuration, name: "db-02", folder, disks, firmware_variables, fresh }.define().unwrap()
}

#[test]
fn a_new_domain_has_nothing_of_the_old_ones() {
    let disks = [disk("vda", "/vm/db & 02/vda.raw", "raw"), disk("sdb", "/vm/db & 02/sdb.qcow2", "qcow2")];
    let Definition { xml, uuid, warnings } = defined(OLD, &disks, true);
    let document = Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert_eq!(
        (text_of(root, "name"), text_of(root, "uuid"), uuid.as_deref()),
        (Some("db-02"), uuid.as_deref(), uuid.as_deref())
    );
    for gone in [
        "c414c781",
        "11111111",
        "overlay",
        "base.qcow2",
        "/dev/vg",
        "rbd",
        "aa:bb",
        "VARS.fd</nvram>",
        "virtio-disk0",
        "id='3'",
        "sgio",
        "lun",
        "shareable",
        "metadata_cache",
        "/run/db-01",
        "/var/log",
        "backingStore",
        "index=",
    ] {
        assert!(!xml.contains(gone), "{gone}: {xml}");
    }
    for there in [
        "<source file='/vm/db &amp; 02/vda.raw'/>",
        "<driver name='qemu' type='raw' cache='none' discard='unmap'>",
        "<disk type='file' device='disk'>\n      <driver name='qemu' type='qcow2'/>\n      <source file='/vm/db &amp; 02/sdb.qcow2'/>",
        "<serial>A1</serial>",
        "/iso/a.iso",
        "52:54:00:00:00:01",
        "52:54:00:00:00:02",
        "<entry name='uuid'>99999999",
        "<genid/>",
        "<nvram template='/usr/share/OVMF/OVMF_VARS.fd'/>",
        "path='/vm/db &amp; 02/db-01.log' append='on'",
        "mode='bind' path='/vm/db &amp; 02/agent'",
        "path='/run/host/bus'",
        "ua-lan",
        "<x:name xmlns:x=\"urn:x\">db-01</x:name>",
        "type='dynamic'",
    ] {
        assert!(xml.contains(there), "{there}: {xml}");
    }
    for said in ["vdc is not in the point", "firmware variables (/var/lib", "TPM", "5907", "security label"] {
        assert!(warnings.iter().any(|line| line.contains(said)), "{said}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 5, "{warnings:?}");
}

#[test]
fn the_same_domain_keeps_its_identity() {
    let Definition { xml, uuid, warnings } = defined(OLD, &[disk("vda", "/a", "raw"), disk("vdz", "/z", "raw")], false);
    assert_eq!(uuid.as_deref(), Some("c414c781-d010-44b9-86d1-5766d0a2f7dc"));
    assert!(xml.contains("52:54:00:aa:bb:02") && xml.contains("<name>db-02</name>") && xml.contains("<genid/>"), "{xml}");
    assert!(warnings.iter().any(|line| line.contains("attach /z by hand")), "{warnings:?}");
}

#[test]
fn a_disk_without_source_or_driver_gets_them() {
    let old = "<domain><name>a</name><devices><disk type='volume' device='disk'><target dev='vda'/></disk></devices></domain>";
    let xml = defined(old, &[disk("vda", "/a", "qcow2")], true).xml;
    assert!(xml.contains("<source file='/a'/><driver name='qemu' type='qcow2'/><target dev='vda'/>"), "{xml}");
}

#[test]
fn a_domain_is_led_to_its_own_firmware_variables() {
    let with = |os: &str| {
        let old = format!("<domain><name>a</name><os><type>hvm</type>{os}</os></domain>");
        defined_with(&old, &[], true, Some(Path::new("/vm/a & b/vars")))
    };
    for os in ["", "<nvram template='/t'>/old</nvram>", "<nvram type='file' format='qcow2'><source file='/old'/></nvram>"] {
        let Definition { xml, warnings, .. } = with(os);
        assert!(xml.contains("<os><type>hvm</type><nvram>/vm/a &amp; b/vars</nvram></os>"), "{xml}");
        assert!(warnings.is_empty() && !xml.contains("/old"), "{warnings:?}");
    }
}

#[test]
fn what_is_no_domain_is_refused() {
    for text in ["", "{}", r#"{"arguments": ["qemu"]}"#, r#"{"domain_xml": "<domain>"}"#, r#"{"domain_xml": "<network/>"}"#] {
        let (folder, firmware_variables) = (Path::new("/a"), None);
        let asked = NewDomain { configuration: text, name: "a", folder, disks: &[], firmware_variables, fresh: None };
        assert_eq!(asked.define().unwrap_err().kind(), stillpoint_model::ErrorKind::Invalid, "{text}");
    }
}
