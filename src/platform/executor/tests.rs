use super::*;
use crate::platform::protocol::TextRequest;

const REQUEST: TextRequest<'static> = TextRequest {
    method: "GET",
    url: "https://a.example/",
    request_id: "id",
    authorization: None,
    body: None,
    deadline_ms: 1,
    bytes_max: 1,
};
const STEP: &str = "AGET\nhttps://a.example/\nid\n\n\n1\n1\n";

fn respond(body: String) -> End {
    End::Respond { status: 200, fields: Vec::new(), body }
}

/// Fetches once, and ends with the result.
async fn fetch(port: Rc<TaskPort>) -> End {
    respond(format!("{:?}", port.fetch(Step::FetchText(&REQUEST)).await))
}

fn waiting(executor: &Executor) -> usize {
    executor.tasks.borrow().len()
}

#[test]
fn a_task_runs_from_step_to_step_until_its_end() {
    let executor = Executor::default();
    let first = executor.begin(1, 0, |port| async move {
        let mut texts = String::new();
        for _ in 0..2 {
            let response = port.fetch(Step::FetchText(&REQUEST)).await.unwrap();
            texts += &response.text;
        }
        respond(texts)
    });
    assert_eq!(first, STEP);
    assert_eq!(executor.resume(1, 200, "a".to_owned()), STEP);
    assert_eq!(executor.resume(1, 200, "b".to_owned()), "R200\n0\nab");
    assert_eq!(waiting(&executor), 0);
}

#[test]
fn tasks_receive_their_own_results() {
    let executor = Executor::default();
    for id in [1, 2] {
        executor.begin(id, 0, fetch);
    }
    let second = executor.resume(2, 200, "second".to_owned());
    let first = executor.resume(1, 0, "timeout".to_owned());
    assert!(second.contains("second"), "{second}");
    assert_eq!(first, "R200\n0\nErr(Timeout)");
}

#[test]
fn a_task_that_waits_without_a_step_is_stalled_and_dropped() {
    let executor = Executor::default();
    let stalled = executor.begin(1, 0, |_port| async {
        std::future::pending::<()>().await;
        End::Pass
    });
    assert_eq!(stalled, "Xtask_stalled");
    assert_eq!(waiting(&executor), 0);
    // The same holds after a step.
    executor.begin(2, 0, |port| async move {
        let _ = port.fetch(Step::FetchText(&REQUEST)).await;
        std::future::pending::<()>().await;
        End::Pass
    });
    assert_eq!(executor.resume(2, 200, String::new()), "Xtask_stalled");
    assert_eq!(executor.resume(2, 200, String::new()), "Xtask_unknown");
}

#[test]
fn a_result_of_the_wrong_kind_is_an_error() {
    let executor = Executor::default();
    for (status, text) in [(1, ""), (2, ""), (0, "tiemout"), (0, "")] {
        executor.begin(1, 0, fetch);
        assert_eq!(executor.resume(1, status, text.to_owned()), "R200\n0\nErr(Protocol)");
    }
}

#[test]
fn a_step_with_a_line_break_fails_without_a_crossing() {
    let executor = Executor::default();
    let end = executor.begin(1, 0, |port| async move {
        let request = TextRequest { url: "https://a.example/\n", ..REQUEST };
        respond(format!("{:?}", port.fetch(Step::FetchText(&request)).await))
    });
    assert_eq!(end, "R200\n0\nErr(Protocol)");
}

#[test]
fn a_background_task_has_steps_of_its_own() {
    let executor = Rc::new(Executor::default());
    let spawner = Rc::clone(&executor);
    let end = executor.begin(1, 0, |port| async move {
        spawner.spawn(&port, |port| async move {
            let _ = port.fetch(Step::FetchText(&REQUEST)).await;
        });
        fetch(port).await
    });
    assert_eq!(end, STEP);
    assert_eq!(executor.resume(2, 2, String::new()), STEP);
    assert_eq!(executor.resume(1, 200, "mine".to_owned()).lines().count(), 3);
    assert_eq!(executor.resume(2, 200, "its".to_owned()), "");
    assert_eq!(waiting(&executor), 0);
}

#[test]
fn a_forgotten_task_is_dropped() {
    let executor = Executor::default();
    let held = Rc::new(());
    let theirs = Rc::clone(&held);
    executor.begin(1, 0, |port| async move {
        let end = fetch(port).await;
        drop(theirs);
        end
    });
    assert_eq!(Rc::strong_count(&held), 2);
    assert!(executor.forget(1));
    assert_eq!(Rc::strong_count(&held), 1);
    assert_eq!(executor.resume(1, 200, String::new()), "Xtask_unknown");
}

const MOST: Holding = Holding { requests: 8, bytes: 800 };

/// Begins a request that fetches, or ends at once if it is not admitted.
fn begin_for(executor: &Executor, id: u32, bytes: usize, client: Option<&'static str>) -> bool {
    let begun = executor.begin(id, bytes, move |port| async move {
        match port.is_within(MOST, client) {
            true => fetch(port).await,
            false => End::Pass,
        }
    });
    begun == STEP
}

#[test]
fn open_requests_of_one_client_stay_within_its_share() {
    let executor = Executor::default();
    let admitted = |ids: std::ops::Range<u32>, bytes, client| {
        ids.filter(|id| begin_for(&executor, *id, bytes, client)).count()
    };
    assert_eq!(admitted(1..10, 1, Some("192.0.2.1")), 2, "a quarter of the requests");
    assert_eq!(admitted(10..20, 100, Some("192.0.2.2")), 2);
    assert_eq!(admitted(20..30, 250, Some("192.0.2.3")), 1, "a quarter of the bytes, or one");
    assert_eq!(admitted(30..40, 1, None), 3, "the rest");
    assert_eq!(admitted(40..50, 1, Some("192.0.2.4")), 0);
    // When one request of the client ends, the next one is admitted.
    executor.resume(1, 200, String::new());
    assert_eq!(admitted(50..60, 1, Some("192.0.2.1")), 1);
    for id in 0..60 {
        executor.forget(id);
    }
    assert_eq!(executor.load.all.get().requests, 0);
    assert_eq!(executor.load.all.get().bytes, 0);
    assert!(executor.load.clients.borrow().is_empty());
}

#[test]
fn request_is_open_as_long_as_its_counted_background_task() {
    let executor = Rc::new(Executor::default());
    let spawner = Rc::clone(&executor);
    executor.begin(1, 100, |port| async move {
        assert!(port.is_within(MOST, Some("192.0.2.1")));
        spawner.spawn_counted(&port, |port| async move {
            let _ = port.fetch(Step::FetchText(&REQUEST)).await;
        });
        fetch(port).await
    });
    executor.resume(2, 2, String::new());
    assert!(executor.forget(1), "its client left");
    assert_eq!(executor.load.all.get().bytes, 100);
    assert!(!begin_for(&executor, 3, 101, Some("192.0.2.1")), "both hold too much");
    assert!(!executor.forget(2), "no request");
    assert_eq!(executor.load.all.get().requests, 0);
    assert!(executor.load.clients.borrow().is_empty());
}
