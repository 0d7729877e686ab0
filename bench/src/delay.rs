//! A proxy that delays responses, like a distant store. It keeps their order.

use anyhow::{Context as _, Result};
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A proxy from one local port to another, with a delay for responses.
#[derive(Clone, Copy, Debug)]
pub struct DelayProxy {
    port: u16,
    delay: Duration,
    target: u16,
}

impl FromStr for DelayProxy {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let mut part = || parts.next().context("not PORT:MILLISECONDS:TARGET");
        let (port, ms, target) = (part()?.parse()?, part()?.parse()?, part()?.parse()?);
        Ok(Self { port, delay: Duration::from_millis(ms), target })
    }
}

impl DelayProxy {
    /// Serves until the process ends.
    pub async fn serve(self) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::spawn(self.connect(client));
        }
    }

    async fn connect(self, client: TcpStream) -> Result<()> {
        let target = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target)).await?;
        client.set_nodelay(true)?;
        target.set_nodelay(true)?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_target, mut to_target) = target.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_target).await });
        let (sender, mut delayed) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
        tokio::spawn(async move {
            while let Some((at, bytes)) = delayed.recv().await {
                tokio::time::sleep_until(at).await;
                to_client.write_all(&bytes).await?;
            }
            to_client.shutdown().await
        });
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = from_target.read(&mut buffer).await?;
            let bytes = buffer.get(..count).unwrap_or_default().to_vec();
            if count == 0 || sender.send((Instant::now() + self.delay, bytes)).await.is_err() {
                return Ok(());
            }
        }
    }
}
