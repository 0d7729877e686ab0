//! Redis servers for one test.

use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use redis::Client;
use std::process::Command;

/// One Redis server.
pub struct Redis {
    pub port: u16,
    pub process: Process,
    folder: Folder,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts a server with these arguments, and waits until its port is open.
    pub fn start(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let [port] = free_ports();
        Self::on(port, Folder::new(), arguments)
    }

    pub fn on(port: u16, folder: Folder, arguments: Vec<String>) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"]);
        command.arg(folder.file("")).args(&arguments);
        let process = Process::start(&mut command, folder.file("redis.log"));
        let tls = arguments.iter().position(|argument| argument == "--tls-port");
        let port = match tls {
            Some(place) => arguments[place + 1].parse().unwrap(),
            None => port,
        };
        wait_for_port(port, &process);
        Self { port, process, folder, arguments }
    }

    /// Starts the same server again, after it was killed.
    pub fn again(self) -> Self {
        let Self { port, process, folder, arguments } = self;
        drop(process);
        Self::on(port, folder, arguments)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn connection(&self) -> redis::Connection {
        connection(self.port)
    }
}

pub fn connection(port: u16) -> redis::Connection {
    let client = Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    client.get_connection().unwrap()
}

/// Returns the role that a server has: `master` or `slave`.
pub fn role(redis: &Redis) -> String {
    let role: Vec<redis::Value> = redis::cmd("ROLE").query(&mut redis.connection()).unwrap();
    redis::from_redis_value(role[0].clone()).unwrap()
}
