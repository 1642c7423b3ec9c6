use std::{future::poll_fn, task::Poll};

/// Lets everything else in this thread go on `count` times before it returns.
pub(crate) async fn turns(count: u32) {
    let mut left = count;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
