//! What the kernel knows about the broker's process and about the machine (proc(5)).

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};

use serde::Serialize;

/// Kernel clock ticks a second, in which /proc counts CPU time: fixed at 100 for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process at one moment. What could not be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ProcessSample {
    /// CPU time used so far, in seconds, by all threads.
    pub cpu_seconds: Option<f64>,
    pub rss_bytes: Option<u64>,
    /// Since the process started, or since [`reset_peak`].
    pub rss_peak_bytes: Option<u64>,
    /// Octets sent towards the disk so far, by this process.
    pub written_bytes: Option<u64>,
    pub threads: Option<u64>,
}

pub fn sample(pid: u32) -> ProcessSample {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let (stat, status, io) = (read("stat"), read("status"), read("io"));
    ProcessSample {
        cpu_seconds: cpu_seconds(&stat),
        rss_bytes: field(&status, "VmRSS:").map(|kib| kib * 1024),
        rss_peak_bytes: field(&status, "VmHWM:").map(|kib| kib * 1024),
        written_bytes: field(&io, "write_bytes:"),
        threads: field(&status, "Threads:"),
    }
}

/// Starts a new peak of the resident size; only for processes of one's own user. `false`: not permitted.
pub fn reset_peak(pid: u32) -> bool {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

/// CPU time that the whole machine has spent busy, in seconds over all cores.
pub fn machine_busy_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let times: Vec<f64> =
        stat.lines().next()?.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is contained in user.
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| times.get(*index)).sum::<f64>();
    Some(busy / TICKS_PER_SECOND)
}

/// The local process that listens on an address, if we may see it.
pub fn listener_pid(address: &str) -> Option<u32> {
    let targets: Vec<SocketAddr> =
        address.to_socket_addrs().ok()?.filter(|address| address.ip().is_loopback()).collect();
    let port = targets.first()?.port();
    let inodes = listening_inodes(port);
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(|pid| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|target| {
                let target = target.to_string_lossy();
                let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
                inode.is_some_and(|inode| inodes.iter().any(|known| known == inode))
            })
        })
    })
}

/// Inodes of sockets that listen on that port, IPv4 and IPv6.
fn listening_inodes(port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) = (words.get(1), words.get(3), words.get(9)) else {
                continue;
            };
            let local_port = local.rsplit_once(':').and_then(|(_, hex)| u16::from_str_radix(hex, 16).ok());
            if *state == LISTEN && local_port == Some(port) {
                inodes.push((*inode).to_owned());
            }
        }
    }
    inodes
}

/// utime and stime, fields 14 and 15; the command in field 2 may hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_command.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_nasty_name() {
        let stat = "7 (a b) c) S 1 1 1 0 -1 4 1 2 3 4 150 50 0 0 20 0 1 0 99";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }

    #[test]
    fn samples_itself_and_finds_its_listener() {
        let own = sample(std::process::id());
        assert!(own.rss_bytes > Some(0) && own.rss_peak_bytes >= own.rss_bytes && own.threads >= Some(1));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(listener_pid(&address), Some(std::process::id()));
        assert!(machine_busy_seconds() > Some(0.0));
    }
}
