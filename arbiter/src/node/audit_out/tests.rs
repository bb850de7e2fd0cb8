//! Copies as they are written: nothing is left out, whatever becomes of file and socket.

use super::*;
use crate::audit_file::{self, tests::state};
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

/// Hand over until nothing is left.
fn drain<C: Copy>(mut copy: C, state: &State) -> C {
    loop {
        let (back, more) = step(copy, state);
        copy = back;
        if !more.unwrap() {
            return copy;
        }
    }
}

fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("audit.jsonl")
}

fn read(dir: &tempfile::TempDir) -> String {
    std::fs::read_to_string(file(dir)).unwrap()
}

#[test]
fn a_file_has_every_record_once_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    drain(FileCopy::new(file(&dir)), &state(100));
    let copy = drain(FileCopy::new(file(&dir)), &state(130));
    drain(copy, &state(140));
    let good = audit_file::check(&read(&dir)).unwrap();
    assert_eq!((good.records, good.first, good.last), (140, 1, 140));
    assert_eq!(read(&dir).lines().count(), 140);
}

#[test]
fn half_a_line_of_a_crash_goes_and_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    drain(FileCopy::new(file(&dir)), &state(3));
    let mut text = std::fs::OpenOptions::new().append(true).open(file(&dir)).unwrap();
    text.write_all(b"{\"seq\":4,\"ind").unwrap();
    drain(FileCopy::new(file(&dir)), &state(5));
    assert_eq!(audit_file::check(&read(&dir)).unwrap().records, 5);
}

#[test]
fn a_file_that_is_renamed_away_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let copy = drain(FileCopy::new(file(&dir)), &state(3));
    let old = dir.path().join("audit.jsonl.1");
    std::fs::rename(file(&dir), &old).unwrap();
    drain(copy, &state(5));
    assert_eq!(audit_file::check(&read(&dir)).unwrap().first, 4);
    let whole = std::fs::read_to_string(&old).unwrap() + &read(&dir);
    assert_eq!(audit_file::check(&whole).unwrap().records, 5);
}

#[test]
fn what_is_kept_no_more_is_told_as_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let kept = arbiter_core::AUDIT_KEPT_MAX as u64;
    drain(FileCopy::new(file(&dir)), &state(3));
    drain(FileCopy::new(file(&dir)), &state(kept + 10));
    let good = audit_file::check(&read(&dir)).unwrap();
    assert_eq!(good.gaps, [Gap { from: 4, to: 10 }]);
    assert_eq!(good.last, kept + 10);
}

#[test]
fn another_file_is_not_written_into() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(file(&dir), "my notes\n").unwrap();
    let (_, ended) = step(FileCopy::new(file(&dir)), &state(3));
    assert!(ended.unwrap_err().to_string().contains("move the file away"));
    assert_eq!(read(&dir), "my notes\n");
}

fn is_5424(message: &str, seq: u64) {
    let (head, rest) = message.split_once(" [audit@32473 arbiter=\"arbiter-eu\" ").unwrap();
    let fields: Vec<&str> = head.split(' ').collect();
    assert_eq!((fields[0], fields[3], fields[5]), ("<109>1", "arbiter", "audit"), "{message}");
    assert_eq!(fields[1], "2023-11-14T22:13:20.000Z");
    assert!(rest.starts_with(&format!("seq=\"{seq}\" hash=\"")), "{message}");
    let json = rest.split_once("] ").unwrap().1;
    assert_eq!(audit_file::check(json).unwrap().first, seq, "the record itself, whole");
}

#[test]
fn syslog_by_udp_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let place = format!("udp://{}", receiver.local_addr().unwrap());
    let copy = || SyslogCopy::new(&place, "arbiter-eu", dir.path());
    drain(copy(), &state(2));
    drain(copy(), &state(3));
    let mut bytes = [0u8; 65536];
    for seq in 1..=3 {
        let length = receiver.recv(&mut bytes).unwrap();
        is_5424(std::str::from_utf8(&bytes[..length]).unwrap(), seq);
    }
    receiver.set_nonblocking(true).unwrap();
    assert!(receiver.recv(&mut bytes).is_err(), "nothing is sent again after a restart");
}

#[test]
fn syslog_by_a_local_socket_waits_for_its_receiver() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let place = format!("unix:{}", path.display());
    let (copy, ended) = step(SyslogCopy::new(&place, "arbiter-eu", dir.path()), &state(1));
    assert!(ended.is_err(), "nobody is there");
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let copy = drain(copy, &state(1));
    let mut bytes = [0u8; 65536];
    let length = receiver.recv(&mut bytes).unwrap();
    is_5424(std::str::from_utf8(&bytes[..length]).unwrap(), 1);
    // The receiver is started again.
    drop(receiver);
    std::fs::remove_file(&path).unwrap();
    let (copy, ended) = step(copy, &state(2));
    assert!(ended.is_err());
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    drain(copy, &state(2));
    let length = receiver.recv(&mut bytes).unwrap();
    is_5424(std::str::from_utf8(&bytes[..length]).unwrap(), 2);
}
