//! How debuggers come and go.

use emu_tests::emulator::emu;
use emu_tests::gdb_client::{Client, start, start_unix};
use emu_tests::process::run;
use emu_tests::scratch::Scratch;

use crate::LIMIT;

#[test]
fn a_paused_machine_waits_and_detach_lets_it_run_to_its_end() {
    let (mut emulator, address) = start(&["--paused"], LIMIT);
    emulator.send(b"poweroff\n");
    emulator.end_input();
    let mut client = Client::connect(&address);
    assert_eq!(client.pc(), 0xffff_fff0);
    assert_eq!(client.memory(0xffff_fff0, 1), [0xea], "a far jump");
    assert_eq!(client.ask("Z0,7c00,1"), "OK");
    assert_eq!(client.ask("D;1"), "OK");
    let ended = emulator.finish();
    assert_eq!(ended.code(), Some(0), "the break-point went with the debugger: {}", ended.story());
}

#[test]
fn power_off_is_told_as_an_exit() {
    let (mut emulator, address) = start(&["--paused"], LIMIT);
    emulator.send(b"poweroff\n");
    emulator.end_input();
    let mut client = Client::connect(&address);
    assert_eq!(client.ask("vCont;c"), "W00");
    assert_eq!(emulator.finish().code(), Some(0));
}

#[test]
fn kill_ends_the_emulator() {
    let (emulator, address) = start(&["--paused"], LIMIT);
    let mut client = Client::connect(&address);
    client.send("k");
    let ended = emulator.finish();
    assert_eq!(ended.code(), Some(0), "{}", ended.story());
}

#[test]
fn a_lost_connection_leaves_the_machine_as_it_is_for_the_next() {
    let (emulator, address) = start(&["--paused"], LIMIT);
    let mut client = Client::connect(&address);
    for _ in 0..10 {
        assert!(client.step().starts_with("T05"));
    }
    let there = client.pc();
    assert_eq!(client.ask(&format!("Z0,{there:x},1")), "OK");
    drop(client);
    let mut client = Client::connect(&address);
    assert_eq!(client.pc(), there);
    assert!(client.step().starts_with("T05"));
    drop(client);
    let ended = emulator.kill();
    let story = ended.story();
    assert!(story.contains("the machine stands until another one connects"), "{story}");
}

#[test]
fn a_second_client_is_turned_away() {
    let (emulator, address) = start(&["--paused"], LIMIT);
    let mut first = Client::connect(&address);
    let other = std::net::TcpStream::connect(&address).unwrap();
    assert!(first.step().starts_with("T05"), "the first one goes on");
    let mut byte = [0];
    assert_eq!(std::io::Read::read(&mut &other, &mut byte).unwrap(), 0, "closed");
    drop(emulator);
}

#[test]
fn a_port_in_use_is_a_line_and_status_1() {
    let (_emulator, address) = start(&["--paused"], LIMIT);
    let ended = run(emu(["--gdb", &address]), b"", LIMIT);
    assert_eq!(ended.code(), Some(1), "{}", ended.story());
    let errors = String::from_utf8_lossy(&ended.errors).into_owned();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("--gdb") && errors.contains("in use"), "{errors}");
}

#[test]
fn rubbish_on_the_line_loses_the_connection_and_nothing_else() {
    let (emulator, address) = start(&["--paused"], LIMIT);
    for rubbish in [&b"GET / HTTP/1.1\r\n\r\n$zz#00$vCont;s:zz#99"[..], &[0xff; 40_000], b"$m0,ffffffffff#00"]
    {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        std::io::Write::write_all(&mut stream, rubbish).unwrap();
    }
    let mut client = Client::connect(&address);
    assert_eq!(client.pc(), 0xffff_fff0);
    drop(emulator);
}

#[test]
fn ctrl_c_stops_a_running_and_a_sleeping_guest() {
    for time in ["virtual", "host"] {
        let (mut emulator, address) = start(&["--paused", "--time", time], LIMIT);
        let mut client = Client::connect(&address);
        client.send("vCont;c");
        assert!(emulator.wait_for("emu$ "), "the guest idles in HLT by now");
        client.interrupt();
        let stop = client.packet();
        assert!(stop.starts_with("T02"), "{stop}");
        assert!(client.step().starts_with("T05"));
    }
}

#[test]
fn packets_that_are_sent_ahead_are_answered_in_their_order() {
    const STEPS: usize = 300;
    for engine in ["interp", "jit"] {
        let (_emulator, address) = start(&["--paused", "--accel", engine], LIMIT);
        let mut client = Client::connect(&address);
        let one_by_one: Vec<[String; 2]> = (0..STEPS).map(|_| [client.step(), client.ask("p10")]).collect();
        let (_emulator, address) = start(&["--paused", "--accel", engine], LIMIT);
        let mut client = Client::connect(&address);
        client.send_ahead(&["vCont;s:p1.1;c", "p10"].repeat(STEPS));
        for (number, [stop, pc]) in one_by_one.iter().enumerate() {
            assert_eq!(&client.packet(), stop, "{engine}: step {number}");
            assert_eq!(&client.packet(), pc, "{engine}: step {number}");
        }
    }
}

#[test]
fn ctrl_c_overtakes_packets_that_were_sent_ahead() {
    let (mut emulator, address) = start(&["--paused"], LIMIT);
    let mut client = Client::connect(&address);
    client.send("vCont;c");
    assert!(emulator.wait_for("emu$ "), "the guest idles in HLT by now");
    client.send_ahead(&["p10", "\u{3}", "p11"]);
    let stop = client.packet();
    assert!(stop.starts_with("T02"), "{stop}");
    assert_eq!([client.packet().len(), client.packet().len()], [16, 8], "$rip, then $eflags");
}

#[test]
fn a_unix_socket_serves_one_client_after_the_other_and_goes_with_the_run() {
    let scratch = Scratch::new("gdb_unix");
    let socket = scratch.path("gdb");
    let emulator = start_unix(&socket, &["--paused"], LIMIT);
    let mut client = Client::connect_unix(&socket);
    assert!(client.step().starts_with("T05"));
    let there = client.pc();
    drop(client);
    let mut client = Client::connect_unix(&socket);
    assert_eq!(client.pc(), there, "the machine stood meanwhile");
    let taken = run(emu(["--gdb", &format!("unix:{}", socket.display())]), b"", LIMIT);
    assert_eq!(taken.code(), Some(1), "{}", taken.story());
    let errors = String::from_utf8_lossy(&taken.errors).into_owned();
    assert!(errors.lines().count() == 1 && errors.contains("exists already"), "{errors}");
    client.send("k");
    assert_eq!(emulator.finish().code(), Some(0));
    assert!(!socket.exists(), "the socket's file is gone");
}
