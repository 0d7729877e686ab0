use super::*;
use hyper::Response;
use hyper::body::Body as _;
use std::pin::Pin;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

/// Reads a body to its end.
async fn read(body: &mut RequestBody) {
    while let Some(Ok(_)) =
        std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
    {}
}

/// An anonymous request that is still to come keeps no other client out.
#[tokio::test]
async fn connections_whose_bodies_are_missing_give_way() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (_stop, stopping) = watch::channel(false);
    let metrics = ListenerMetrics::new("test").unwrap();
    let bounds = Bounds { connections_max: 4, ..Bounds::ADMIN };
    let listener = Listener { socket, bounds, tls: || None, metrics, stopping };
    let heads = Arc::new(Semaphore::new(0));
    let handler = {
        let heads = Arc::clone(&heads);
        move |_: Connection, mut request: Request<RequestBody>| {
            heads.add_permits(1);
            async move {
                read(request.body_mut()).await;
                Response::new(String::new())
            }
        }
    };
    let server = tokio::spawn(listener.serve(handler));
    let send = async |text: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    let mut slow = Vec::new();
    for _ in 0..3 {
        slow.push(send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nslow").await);
        heads.acquire().await.unwrap().forget();
    }
    let mut client = send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx").await;
    let mut start = [0; 12];
    let answered = client.read_exact(&mut start).await;
    assert!(answered.is_ok() && start == *b"HTTP/1.1 200", "refused: {answered:?}");
    let end = slow[0].read(&mut [0]).await;
    assert!(matches!(end, Ok(0) | Err(_)), "the oldest has given way: {end:?}");
    server.abort();
}
