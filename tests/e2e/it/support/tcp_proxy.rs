//! A proxy for any protocol over TCP. It delays responses and cuts connections.

use crate::support::process::free_ports;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The behaviour of the proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    /// Each response is delayed by this time.
    Delayed(Duration),
    /// Nothing is forwarded, and connections are closed.
    Cut,
}

/// A link without a delay.
pub const QUICK: Link = Link::Delayed(Duration::ZERO);

/// A proxy on its own port.
pub struct TcpProxy {
    pub port: u16,
    link: watch::Sender<Link>,
}

impl TcpProxy {
    /// Starts a proxy in front of a local port. It ends when it is dropped.
    pub fn start(target: u16, link: Link) -> Self {
        let [port] = free_ports();
        Self::start_at(port, target, link)
    }

    /// Starts a proxy at a free port, which was known before the target was.
    pub fn start_at(port: u16, target: u16, link: Link) -> Self {
        let (sender, link) = watch::channel(link);
        let (ready, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
                let _ = ready.send(());
                let mut stopped = link.clone();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            if let Ok((client, _)) = accepted {
                                tokio::spawn(serve(client, target, link.clone()));
                            }
                        }
                        changed = stopped.changed() => if changed.is_err() { return },
                    }
                }
            });
        });
        wait.recv().unwrap();
        Self { port, link: sender }
    }

    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

/// Forwards one connection until either side ends it, or the link is cut.
async fn serve(mut client: TcpStream, target: u16, mut link: watch::Receiver<Link>) {
    if *link.borrow() == Link::Cut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let (mut request, mut answer) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => match read {
                Ok(count @ 1..) if server.write_all(&request[..count]).await.is_ok() => {}
                _ => return,
            },
            read = server.read(&mut answer) => match read {
                Ok(count @ 1..) => {
                    let Link::Delayed(delay) = *link.borrow() else { return };
                    tokio::time::sleep(delay).await;
                    if client.write_all(&answer[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            changed = link.changed() => {
                if changed.is_err() || *link.borrow() == Link::Cut {
                    return;
                }
            }
        }
    }
}
