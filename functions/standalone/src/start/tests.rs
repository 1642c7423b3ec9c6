use super::*;

fn disk(name: &str, was: &str, file: &str, format: &'static str) -> Disk {
    Disk { name: name.to_owned(), was: (!was.is_empty()).then(|| was.to_owned()), file: file.into(), format }
}

/// The os disk of most tests: `/old/os.qcow2` is restored as `/new/os.qcow2`.
fn os() -> Vec<Disk> {
    vec![disk("os", "/old/os.qcow2", "/new/os.qcow2", "qcow2")]
}

fn made(words: &[&str], disks: &[Disk], fresh: bool) -> Script {
    made_with(words, disks, fresh, Reach::Same)
}

fn made_with(words: &[&str], disks: &[Disk], fresh: bool, reach: Reach) -> Script {
    let arguments = std::iter::once("qemu").chain(words.iter().copied()).map(str::to_owned).collect();
    let mut next = 0;
    let bytes = move || {
        next += 1;
        [next; 16]
    };
    let fresh = fresh.then(|| Fresh(Box::new(bytes)));
    script(Request { arguments, name: "db-02", folder: Path::new("/new"), disks, variables: None, fresh, reach }).unwrap()
}

fn made_with_variables(words: &[&str]) -> Script {
    let arguments = std::iter::once("qemu").chain(words.iter().copied()).map(str::to_owned).collect();
    let variables = Some(Variables { was: "/old/vars.fd", file: Path::new("/new/vars") });
    let (folder, reach) = (Path::new("/new"), Reach::Same);
    script(Request { arguments, name: "db-02", folder, disks: &[], variables, fresh: None, reach }).unwrap()
}

/// The command of a script, without its name.
fn command(script: &Script) -> String {
    let (_, command) = script.text.split_once("exec qemu").unwrap();
    command
        .trim_end()
        .trim_end_matches("\"$@\"")
        .replace(" \\\n ", "")
        .trim()
        .replace(" -name db-02", "")
        .replace("-name db-02", "")
}

/// Words whose parts stand in an order that means nothing.
fn sorted(text: &str) -> Vec<String> {
    let in_order = |word: &str| {
        let mut parts: Vec<&str> = word.split(',').collect();
        parts.sort_unstable();
        parts.join(",")
    };
    text.split_whitespace().map(in_order).collect()
}

#[test]
fn a_disk_is_replaced_wherever_it_stands() {
    let raw = || vec![disk("os", "/old/os.raw", "/new/os.qcow2", "qcow2")];
    let to_raw = || vec![disk("os", "/old/os.qcow2", "/new/os.raw", "raw")];
    for (words, disks, expected) in [
        (
            &["-drive", "file=/old/os.qcow2,if=virtio,format=qcow2,cache=none"][..],
            os(),
            "-drive file=/new/os.qcow2,format=qcow2,if=virtio,cache=none",
        ),
        (&["-drive", "format=raw,file=/old/os.raw,if=ide"], raw(), "-drive file=/new/os.qcow2,format=qcow2,if=ide"),
        (
            &["-drive", "driver=qcow2,file.driver=file,file.filename=/old/os.qcow2,id=d,if=none"],
            to_raw(),
            "-drive file=/new/os.raw,format=raw,id=d,if=none",
        ),
        (&["-hdb", "/old/os.qcow2"], os(), "-drive file=/new/os.qcow2,format=qcow2,index=1,media=disk"),
        (&["-enable-kvm", "/old/os.qcow2"], os(), "-enable-kvm -drive file=/new/os.qcow2,format=qcow2,index=0,media=disk"),
        (
            &["-blockdev", "driver=qcow2,node-name=d,l2-cache-size=1M,file.driver=file,file.filename=/old/os.qcow2"],
            os(),
            "-blockdev driver=qcow2,node-name=d,l2-cache-size=1M,file.driver=file,file.filename=/new/os.qcow2",
        ),
        (
            &[
                "-blockdev",
                "driver=qcow2,node-name=d,l2-cache-size=1M,discard=unmap,file.driver=file,file.filename=/old/os.qcow2",
            ],
            to_raw(),
            "-blockdev node-name=d,discard=unmap,file.driver=file,file.filename=/new/os.raw,driver=raw",
        ),
        (
            &["-blockdev", r#"{"driver":"raw","node-name":"d","file":{"driver":"host_device","filename":"/old/os.raw"}}"#],
            raw(),
            r#"-blockdev '{"driver":"qcow2","file":{"driver":"file","filename":"/new/os.qcow2"},"node-name":"d"}'"#,
        ),
        (
            &["-blockdev", "file,node-name=f,filename=/old/os.raw", "-blockdev", "driver=raw,node-name=d,file=f"],
            raw(),
            "-blockdev driver=file,node-name=f,filename=/new/os.qcow2 -blockdev driver=qcow2,node-name=d,file=f",
        ),
        (
            &["-blockdev", "driver=file,node-name=f,filename=/old/os.raw", "-device", "virtio-blk,drive=f"],
            raw(),
            "-blockdev driver=qcow2,node-name=f,file.driver=file,file.filename=/new/os.qcow2 -device virtio-blk,drive=f",
        ),
        (
            &[
                "-blockdev",
                "driver=throttle,node-name=t,throttle-group=g,file.driver=qcow2,file.file.driver=file,file.file.filename=/old/os.qcow2",
            ],
            os(),
            "-blockdev driver=throttle,node-name=t,throttle-group=g,file.driver=qcow2,file.file.driver=file,file.file.filename=/new/os.qcow2",
        ),
    ] {
        let script = made(words, &disks, false);
        assert_eq!(sorted(&command(&script)), sorted(expected), "{words:?}");
        assert!(script.warnings.is_empty(), "{:?}", script.warnings);
    }
}

#[test]
fn a_disk_whose_file_has_moved_is_found_by_its_name() {
    let moved = vec![disk("db-data", "/elsewhere", "/new/db-data.raw", "raw")];
    for words in [
        &["-drive", "file=/old/x,id=DB data,if=none", "-device", "virtio-blk,drive=DB data"][..],
        &["-drive", "file=/old/x,id=x,if=none", "-device", "virtio-blk,drive=x,id=db-data"],
        &["-blockdev", "driver=qcow2,node-name=x,file=f", "-device", "virtio-blk,drive=x,id=db-data"],
        &[
            "-blockdev",
            "driver=qcow2,node-name=x,file.driver=file,file.filename=/old/x",
            "-device",
            "virtio-blk,drive=x,id=db-data",
        ],
    ] {
        let script = made(words, &moved, false);
        assert!(script.text.contains("/new/db-data.raw") && !script.text.contains("/old/x"), "{}", script.text);
        assert!(script.warnings.is_empty(), "{:?}", script.warnings);
    }
}

#[test]
fn a_disk_that_is_not_on_the_command_line_is_added_and_said() {
    let script = made(&["-m", "1G"], &os(), false);
    let expected = r#"-m 1G -blockdev '{"driver":"qcow2","file":{"driver":"file","filename":"/new/os.qcow2"},"node-name":"restored0"}' -device virtio-blk,drive=restored0"#;
    assert_eq!(command(&script), expected);
    assert!(script.warnings[0].contains("disk os is not on"), "{:?}", script.warnings);
}

#[test]
fn the_firmware_writes_to_its_own_variables() {
    let code = ["-drive", "if=pflash,unit=0,readonly=on,file=/usr/share/code.fd,format=raw"];
    for (words, expected) in [
        (&["-drive", "if=pflash,unit=1,format=qcow2,file=/old/vars.fd"][..], "-drive file=/new/vars,format=raw,if=pflash,unit=1"),
        (&["-pflash", "/old/vars.fd"], "-drive file=/new/vars,format=raw,if=pflash"),
        (
            &[
                "-machine",
                "q35,pflash1=v",
                "-blockdev",
                "driver=file,node-name=f,filename=/old/vars.fd",
                "-blockdev",
                "qcow2,node-name=v,file=f",
            ],
            "-machine q35,pflash1=v -blockdev driver=file,node-name=f,filename=/new/vars -blockdev node-name=v,file=f,driver=raw",
        ),
        (
            &["-machine", "q35,pflash1=v", "-blockdev", r#"{"driver":"file","node-name":"v","filename":"/old/vars.fd"}"#],
            r#"-machine q35,pflash1=v -blockdev '{"driver":"file","filename":"/new/vars","node-name":"v"}'"#,
        ),
    ] {
        let script = made_with_variables(&[&code[..], words].concat());
        let expected = format!("{} {expected}", code.join(" "));
        assert_eq!(sorted(&command(&script)), sorted(&expected), "{words:?}");
        assert!(script.warnings.is_empty() && script.obstacles.is_empty(), "{:?} {:?}", script.warnings, script.obstacles);
    }
    let elsewhere = made_with_variables(&["-m", "1G"]);
    assert_eq!(command(&elsewhere), "-m 1G");
    assert!(
        elsewhere.warnings[0].contains("/old/vars.fd") && elsewhere.warnings[0].contains("/new/vars"),
        "{:?}",
        elsewhere.warnings
    );
    // Of a point that holds none.
    for words in [["-pflash", "/old/vars.fd"], ["-drive", "if=pflash,unit=1,format=raw,file=/old/vars.fd"]] {
        assert_eq!(made(&words, &[], true).obstacles, ["the new machine writes to /old/vars.fd, as the old one does"]);
    }
}

#[test]
fn a_tpm_is_said_to_be_lost() {
    let words = ["-tpmdev", "emulator,id=t,chardev=c", "-device", "tpm-crb,tpmdev=t"];
    assert!(made(&words, &[], true).warnings[0].contains("TPM's content is not in the point"));
    assert_eq!(made_with(&words, &[], true, Reach::Nothing).warnings, Vec::<String>::new());
}

#[test]
fn identity_is_new_unless_it_is_to_stay() {
    let words = [
        "-name",
        "guest=db-01,debug-threads=on",
        "-uuid",
        "11111111-1111-1111-1111-111111111111",
        "-device",
        "virtio-net,netdev=n,mac=52:54:00:00:00:01",
        "-device",
        r#"{"driver":"virtio-net","mac":"52:54:00:00:00:02"}"#,
        "-nic",
        "user,mac=52:54:00:00:00:03",
        "-net",
        "nic,macaddr=52:54:00:00:00:04",
        "-smbios",
        "type=1,uuid=11111111-1111-1111-1111-111111111111",
    ];
    let same = made(&words, &[], false).text;
    assert!(same.contains("-name guest=db-02,debug-threads=on"), "{same}");
    assert_eq!(same.matches("11111111-1111").count(), 2);
    assert!((1..=4).all(|number| same.contains(&format!("52:54:00:00:00:0{number}"))));
    let fresh = made(&words, &[], true).text;
    assert!(!fresh.contains("11111111-") && !fresh.contains("52:54:00:00:00"), "{fresh}");
    assert_eq!(fresh.matches("01010101-0101-4101-8101-010101010101").count(), 2, "{fresh}");
    for number in 2..=5 {
        assert!(fresh.contains(&format!("52:54:00:0{number}:0{number}:0{number}")), "{fresh}");
    }
    assert!(made(&["-name", "db-01"], &[], true).text.contains("-name db-02"));
    assert!(made(&["-m", "1G"], &[], true).text.contains("-name db-02"));
}

#[test]
fn sockets_logs_and_process_files_move_and_the_run_begins_anew() {
    for (words, expected) in [
        (&["-qmp", "unix:/run/a.qmp,server=on,wait=off"][..], "-qmp unix:/new/a.qmp,server=on,wait=off"),
        (&["-monitor", "unix:/run/mon,server,nowait"], "-monitor unix:/new/mon,server,nowait"),
        (&["-serial", "mon:stdio", "-serial", "file:/var/log/s"], "-serial mon:stdio -serial file:/new/s"),
        (
            &["-chardev", "socket,id=a,path=/run/a/s,server=on,wait=off", "-chardev", "socket,id=b,path=/run/b/s,server=on"],
            "-chardev socket,id=a,path=/new/s,server=on,wait=off -chardev socket,id=b,path=/new/s.2,server=on",
        ),
        (&["-chardev", "stdio,id=c,logfile=/var/log/c"], "-chardev stdio,id=c,logfile=/new/c"),
        (&["-daemonize", "-pidfile", "/run/a.pid", "-D", "/var/log/q"], "-daemonize -pidfile /new/a.pid -D /new/q"),
        (&["-S", "-incoming", "tcp:0:4444", "-loadvm", "x", "--enable-kvm", "-m", "1G"], "-enable-kvm -m 1G"),
        (&["-qmp", "unix:/vm/a/instant.qmp,server=on,wait=off", "-m", "1G"], "-m 1G"),
        (&["-qmp", "tcp:127.0.0.1:4444,server=on"], "-qmp tcp:127.0.0.1:4444,server=on"),
    ] {
        let script = made(words, &[], false);
        assert_eq!(command(&script), expected);
        assert!(
            script.warnings.is_empty() && script.obstacles.is_empty() && !script.text.contains("Outside"),
            "{}{:?}",
            script.text,
            script.warnings
        );
    }
    let warnings = made(&["-chardev", "socket,id=tpm,path=/run/swtpm"], &[], false).warnings;
    assert!(warnings[0].contains("/run/swtpm") && warnings[0].contains("/new/swtpm"), "{warnings:?}");
}

#[test]
fn what_lies_outside_is_listed_and_what_is_shared_is_said() {
    let script = made(
        &[
            "-cdrom",
            "/srv/debian.iso",
            "-drive",
            "file=/old/swap.raw,format=raw",
            "-drive",
            "file=/srv/tools.iso,media=cdrom",
            "-kernel",
            "/boot/vmlinuz",
            "-append",
            "root=/dev/vda",
            "-drive",
            "file=/old/os.qcow2,format=qcow2",
        ],
        &os(),
        false,
    );
    let listed: Vec<&str> = script.text.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
    assert_eq!(listed, ["-cdrom /srv/debian.iso", "-drive /old/swap.raw", "-drive /srv/tools.iso", "-kernel /boot/vmlinuz"]);
    assert_eq!(script.obstacles, ["the new machine writes to /old/swap.raw, as the old one does"]);
    let handed = made(&["-chardev", "socket,id=m,fd=33,server=on"], &[], false).obstacles;
    assert!(handed[0].contains("handed over"), "{handed:?}");
}

#[test]
fn the_shell_gets_every_word_as_it_was() {
    let nasty = "it's; $HOME `id` \"x\"\n*";
    let script = made(&["-append", nasty, "-fw_cfg", ""], &[], false);
    let shown = script.text.replace("exec qemu", "printf '%s\\0' qemu");
    let output = std::process::Command::new("sh").args(["-c", &shown]).output().unwrap();
    let words: Vec<String> = String::from_utf8(output.stdout).unwrap().split('\0').map(str::to_owned).collect();
    assert_eq!(words, ["qemu", "-append", nasty, "-fw_cfg", "", "-name", "db-02", ""]);
    let more = std::process::Command::new("sh").args(["-c", &shown, "sh", "-S", "a b"]).output().unwrap();
    assert!(String::from_utf8(more.stdout).unwrap().ends_with("db-02\0-S\0a b\0"));
}

#[test]
fn a_machine_without_networks_has_none_and_all_else() {
    let words = [
        "-nic",
        "user,mac=52:54:00:00:00:03",
        "-netdev",
        "tap,id=n,ifname=tap0",
        "-device",
        "virtio-net-pci,netdev=n,mac=52:54:00:00:00:01",
        "-device",
        r#"{"driver":"e1000","netdev":"n"}"#,
        "-net",
        "nic",
        "-device",
        "virtio-rng-pci",
    ];
    assert_eq!(command(&made_with(&words, &[], true, Reach::NoNetwork)), "-device virtio-rng-pci -nic none");
    assert_eq!(made(&words, &[], false).text.matches("netdev").count(), 3);
}

#[test]
fn commas_in_paths_stand_twice() {
    let script = made(&["-drive", "file=/a,,b,if=virtio"], &[disk("os", "/a,b", "/new/c,d", "raw")], false);
    assert_eq!(command(&script), "-drive file=/new/c,,d,format=raw,if=virtio");
}

#[test]
fn a_machine_that_is_only_looked_at_reaches_nothing() {
    let alone = |words: &[&str]| command(&made_with(words, &[], false, Reach::Nothing)).replace(" -display none", "");
    let port = "-chardev socket,path=/new/agent,server=on,wait=off,id=stillpoint-agent -device virtio-serial-pci,id=stillpoint-agent-bus -device virtserialport,bus=stillpoint-agent-bus.0,chardev=stillpoint-agent,name=org.qemu.guest_agent.0";
    for (words, expected) in [
        (&["-m", "1G", "-nographic", "-daemonize"][..], format!("-m 1G -nic none -serial file:/new/serial {port}")),
        (&["-vnc", ":1", "-qmp", "tcp:0:4444,server=on", "-serial", "mon:stdio"], format!("-nic none -serial file:/new/serial {port}")),
        (
            &["-chardev", "pty,id=c", "-device", "isa-serial,chardev=c", "-chardev", "socket,id=x,host=h,port=1"],
            format!("-chardev file,path=/new/serial,id=c -device isa-serial,chardev=c -chardev null,id=x -nic none {port}"),
        ),
        (
            &[
                "-chardev",
                "socket,id=a,path=/run/qga,server=on",
                "-device",
                r#"{"driver":"virtserialport","chardev":"a","name":"org.qemu.guest_agent.0"}"#,
            ],
            r#"-chardev socket,path=/new/agent,server=on,wait=off,id=a -device '{"driver":"virtserialport","chardev":"a","name":"org.qemu.guest_agent.0"}' -nic none -serial file:/new/serial"#.to_owned(),
        ),
        (
            &["-device", "vfio-pci,host=01:00.0", "-device", "vhost-vsock-pci,guest-cid=3", "-virtfs", "local,path=/srv", "-device", "virtio-rng-pci"],
            format!("-device virtio-rng-pci -nic none -serial file:/new/serial {port}"),
        ),
        (
            &["-tpmdev", "emulator,id=t,chardev=c", "-device", "tpm-crb,tpmdev=t", "-audiodev", "pa,id=s,server=/run/pulse"],
            format!("-audiodev none,id=s -nic none -serial file:/new/serial {port}"),
        ),
        (
            &["-object", "memory-backend-file,id=m,size=1G,mem-path=/dev/shm/old,share=on", "-object", "iothread,id=i"],
            format!("-object memory-backend-ram,id=m,size=1G -object iothread,id=i -nic none -serial file:/new/serial {port}"),
        ),
    ] {
        assert_eq!(alone(words), expected);
    }
}
