//! A replica's worker follows what the workers of its primary commit, over the broker of both.

use serde_json::json;
use stillpoint_tests::{
    servers::{RabbitMq, rabbitmq},
    text,
    vault_files::{is_commit, objects_of},
};

use crate::plant::{Plant, drained, until};

/// The replica's site; the primary's is the host.
const FAR: &str = "far";
const COMMITTED: &str = "io.stillpoint.recovery_point.committed.v1";

/// Whether the replica's queue gets the points of all sites.
fn is_bound(node: &RabbitMq, plant: &Plant) -> bool {
    let listed = node.ctl(&["list_bindings", "-p", &plant.vhost, "--silent", "destination_name", "routing_key"]);
    listed.lines().any(|line| line.contains(&format!("stillpoint.{FAR}.replicate")) && line.contains(&format!("{COMMITTED}.#")))
}

#[test]
fn a_replica_gets_each_point_without_a_timer_until_it_is_promoted() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    plant.local.json(&["vault", "pair", "--with", &plant.lab.arg("replica")]);
    let [replica, alone] = [&plant.host, &plant.local].map(|host| host.at_vault(&plant.lab.path("replica")));
    let replica = replica.set("STILLPOINT_SITE", FAR);
    let far = || replica.bound_to_us().spawn(&["worker", "replicate"]);
    let near = plant.worker(&["snapshot", "transfer", "commit"]);
    let following = far();
    until("the replica's worker listens", || is_bound(&node, &plant));
    let report = plant.host.backup("big");
    let [point, job] = ["/point", "/job"].map(|field| text(&report, field).to_owned());
    // By its commit object, which comes last: before its machine's record is there, nobody can ask for its points.
    until("the point is copied", || !objects_of(alone.vault(), is_commit).is_empty());
    alone.restores("big", &point, &plant.lab.path("from-the-replica"), &plant.named());

    // The same again, at whatever site, and what nobody has committed.
    let nobody = "01JQ1D5V8CWN3H2TSX0R9F4KMB";
    for (site, point) in [("elsewhere", &*point), (FAR, &*point), ("elsewhere", nobody), (FAR, nobody)] {
        let event = json!({
            "specversion": "1.0", "id": "again", "source": "stillpoint/test", "type": COMMITTED, "time": "2026-03-23T02:00:59.75Z",
            "data": { "item": "big", "point": point, "job": job }
        });
        node.publish(&plant.vhost, "stillpoint", &format!("{COMMITTED}.{site}.0"), event.to_string().as_bytes());
    }
    until("they are heard", || {
        let depth = node.depths(&plant.vhost)[&format!("stillpoint.{FAR}.replicate")];
        (depth.ready, depth.unacked) == (0, 0)
    });
    assert_eq!(replica.json(&["dead"])["dead"].as_array().map(Vec::len), Some(0));
    let jobs = alone.jobs("replicate", "big");
    assert_eq!(jobs.len(), 1, "one point is one job: {jobs:?}");
    assert_eq!(text(&jobs[0], "/state"), "completed", "{jobs:?}");
    drained(&following.terminate());
    drained(&near.terminate());

    alone.json(&["vault", "promote", "--yes"]);
    let promoted = far();
    until("the promoted vault's worker does not listen any more", || !is_bound(&node, &plant));
    drained(&promoted.terminate());
}
