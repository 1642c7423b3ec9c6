//! What is freed, when, and what is not.

use crate::vaults::*;

#[tokio::test]
async fn a_point_is_freed_after_its_window_by_the_second_run_and_what_others_share_stays() {
    let (world, ids) = world_with_points(100, 4).await;
    let all = packs(&world).await;
    bury(&world, &machine(), &ids[..3]).await;
    pass_days(&world, UNDELETE_DAYS - 1);
    assert_eq!(collect(&world).await["points_condemned"], 0, "it can still be undeleted");
    pass_days(&world, 2);
    let first = collect(&world).await;
    assert_eq!((first["points_condemned"], first["points_freed"], first["objects_deleted"]), (3, 0, 0), "condemned first");
    assert!(first["objects_condemned"] > 0, "what it alone needs is condemned with it");
    assert_eq!(committed(&world, &machine()).await, ids);
    let second = collect(&world).await;
    assert_eq!((second["points_condemned"], second["points_freed"]), (0, 3));
    assert!(second["pack_bytes_deleted"] > 0);
    assert_eq!(committed(&world, &machine()).await, ids[3..]);
    let left = packs(&world).await;
    assert!(left.len() < all.len() && !left.is_empty());
    let of_first = needed(&world).await.iter().filter(|name| name.starts_with("packs/")).min().cloned().unwrap();
    assert_eq!(Some(&of_first), all.first(), "the first point's pack is needed by the last");
    assert_clean(&world, "after two runs").await;
    assert_sound(&world, &[machine()], "after two runs").await;
    let third = collect(&world).await;
    assert!(["points_condemned", "points_freed", "objects_deleted", "objects_condemned"].iter().all(|count| third[*count] == 0));
}
