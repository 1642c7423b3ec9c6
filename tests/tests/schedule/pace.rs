use stillpoint_jobs::Job;
use stillpoint_model::Extent;
use stillpoint_testkit::World;

use crate::fleet::{backups, set, world};

const MIB: u64 = 1 << 20;

/// The scheduled backup that is due at `due`, of a machine with 8 MiB of data; and how many seconds it took.
async fn backup(limits: &str, due: &str) -> (Job, u64) {
    let world: World = world(71, 1, "every = \"1h\"\ntime_zone = \"Europe/Berlin\"", limits).await;
    world.platform.change("m-0000/os", |os| {
        os.resize(16 * MIB);
        os.write_noise(Extent::new(MIB, 8 * MIB), 7);
    });
    set(&world, due);
    world.turn().await.unwrap();
    let (_, job) = backups(&world).await.remove(0);
    let end = u64::try_from(job.newest.at.as_millisecond()).unwrap();
    let seconds = (end - job.id.timestamp_ms()) / 1_000;
    (job, seconds)
}

#[tokio::test]
async fn a_policy_s_rate_holds_and_changes_at_the_hour() {
    let limits = "[limits]\nbytes_per_second = \"1MiB\"\nat = [{ between = \"08:00-18:00\", bytes_per_second = \"128KiB\" }]\n";
    let read = |job: &Job| job.newest.outcome.as_ref().unwrap().read_bytes;
    // 07:00 and 08:00 in Berlin.
    let (job, night) = backup(limits, "2026-01-02T06:00:30Z").await;
    assert!(night >= read(&job) / MIB, "{night} s for {} bytes", read(&job));
    let (job, day) = backup(limits, "2026-01-02T07:00:30Z").await;
    assert!(day >= read(&job) / (MIB / 8), "{day} s for {} bytes", read(&job));
    let (_, unlimited) = backup("", "2026-01-02T07:00:30Z").await;
    assert!(unlimited < night && night < day, "{unlimited}, {night}, {day} s");
}
