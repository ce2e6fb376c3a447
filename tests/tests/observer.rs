//! Hooks: what observers see, and that looking on changes nothing.

use emu_core::cpu::{Cpu, RIP};
use emu_core::engine::Engine;
use emu_core::interp::Interpreter;
use emu_core::machine::{Machine, Stop};
use emu_core::observe::{
    Block, Control, Event, Flow, Hooks, Instruction, Kind, Memory, Observer, Port, Target,
};
use emu_jit::Translator;
use emu_tests::board::bundled;

/// Instructions of the bundled kernel's boot that are run here: into its first user programs.
const LENGTH: u64 = 3_000_000;
/// Instructions between two hashes.
const EVERY: u64 = 50_000;

const ALL: [Hooks; 6] =
    [Hooks::INSTRUCTIONS, Hooks::BLOCKS, Hooks::MEMORY, Hooks::PORTS, Hooks::EVENTS, Hooks::CONTROL];

fn engines() -> [Box<dyn Engine>; 2] {
    [Box::new(Interpreter::default()), Box::new(Translator::with_limits(1, 64).unwrap())]
}

/// Counts everything.
#[derive(Default)]
struct Counts {
    hooks: Hooks,
    instructions: u64,
    blocks: u64,
    reads: u64,
    writes: u64,
    ports: u64,
    events: u64,
    controls: u64,
    /// Every so many instructions the run is stopped.
    stop_every: Option<u64>,
    stopped_at: u64,
}

impl Observer for Counts {
    fn hooks(&self) -> Hooks {
        self.hooks
    }

    fn block(&mut self, _: &mut Cpu, block: &Block<'_>) {
        assert!(!block.is_empty());
        self.blocks += 1;
    }

    fn instruction(&mut self, cpu: &mut Cpu, instruction: &Instruction<'_>) -> Flow {
        assert_eq!(instruction.linear(cpu), cpu.linear_ip());
        self.instructions += 1;
        match self.stop_every {
            Some(every)
                if self.instructions.is_multiple_of(every) && self.stopped_at != cpu.instructions() =>
            {
                self.instructions -= 1;
                self.stopped_at = cpu.instructions();
                Flow::Stop
            }
            _ => Flow::Go,
        }
    }

    fn memory(&mut self, cpu: &mut Cpu, access: &Memory) {
        if let Target::Frame(frame) = access.target
            && access.kind == Kind::Write
        {
            let mem = &cpu.system().mem;
            let address = mem.physical_of(frame).unwrap() + access.linear % 4096;
            let mut bytes = [0; 8];
            mem.read_bytes(address, &mut bytes[..usize::from(access.size)]);
            assert_eq!(u64::from_le_bytes(bytes), access.value, "{access:x?}");
        }
        *(if access.kind == Kind::Read { &mut self.reads } else { &mut self.writes }) += 1;
    }

    fn port(&mut self, _: &mut Cpu, _: &Port) {
        self.ports += 1;
    }

    fn event(&mut self, _: &mut Cpu, _: &Event) {
        self.events += 1;
    }

    fn control(&mut self, _: &mut Cpu, _: Control, _: u64) {
        self.controls += 1;
    }
}

/// State hashes along the run, and how often it was stopped on the way.
fn hashes(machine: &mut Machine) -> (Vec<u64>, u64) {
    let mut stops = 0;
    let hashes = (1..=LENGTH / EVERY).map(|n| {
        while machine.instructions() < n * EVERY {
            match machine.run(n * EVERY) {
                Stop::Limit => {}
                Stop::Observed => stops += 1,
                other => panic!("{other:?}"),
            }
        }
        machine.state_hash()
    });
    (hashes.collect(), stops)
}

fn observed(engine: Box<dyn Engine>, counts: Counts) -> (Vec<u64>, u64, Counts) {
    let mut machine = bundled(engine);
    machine.set_observer(Some(Box::new(counts)));
    let (hashes, stops) = hashes(&mut machine);
    let counts = machine.observer::<Counts>().map(std::mem::take).unwrap();
    (hashes, stops, counts)
}

#[test]
fn looking_on_changes_nothing_on_either_engine() {
    let (plain, _) = hashes(&mut bundled(Box::new(Interpreter::default())));
    let all = ALL.into_iter().fold(Hooks::NONE, |all, hook| all | hook);
    for engine in engines() {
        let (seen, stops, counts) = observed(engine, Counts { hooks: all, ..Counts::default() });
        assert!(seen == plain);
        assert_eq!(stops, 0);
        // Repeated string instructions count by iteration and are told by run.
        assert!(counts.instructions > LENGTH / 4 && counts.instructions <= LENGTH, "{}", counts.instructions);
        assert!(counts.blocks > LENGTH / 50 && counts.blocks < counts.instructions);
        for count in [counts.reads, counts.writes, counts.ports, counts.events, counts.controls] {
            assert!(count > 0);
        }
    }
}

#[test]
fn stopping_before_instructions_changes_nothing() {
    let (plain, _) = hashes(&mut bundled(Box::new(Interpreter::default())));
    for engine in engines() {
        let counts = Counts {
            hooks: Hooks::INSTRUCTIONS,
            stop_every: Some(997),
            stopped_at: u64::MAX,
            ..Counts::default()
        };
        let (seen, stops, _) = observed(engine, counts);
        assert!(seen == plain);
        assert!(stops > 500, "{stops}");
    }
}

/// Stops behind each port write, and asks for nothing else.
struct PortStops(Vec<(u16, u64)>);

impl Observer for PortStops {
    fn hooks(&self) -> Hooks {
        Hooks::PORTS
    }

    fn port(&mut self, cpu: &mut Cpu, access: &Port) {
        if access.kind == Kind::Write {
            self.0.push((access.port, cpu.instructions() + 1));
            cpu.request_stop();
        }
    }
}

#[test]
fn a_stop_comes_behind_the_instruction_at_the_same_count_on_both_engines() {
    let logs = engines().map(|engine| {
        let mut machine = bundled(engine);
        machine.set_observer(Some(Box::new(PortStops(Vec::new()))));
        let mut stops = Vec::new();
        while stops.len() < 200 {
            match machine.run(LENGTH) {
                Stop::Observed => stops.push((machine.instructions(), machine.cpu().regs[RIP])),
                other => panic!("{other:?}"),
            }
        }
        let seen = &machine.observer::<PortStops>().unwrap().0;
        assert!(seen.iter().zip(&stops).all(|(seen, stop)| seen.1 == stop.0));
        stops
    });
    assert_eq!(logs[0], logs[1]);
}
