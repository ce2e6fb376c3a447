//! Tasks: what runs, what waits, and who is next. Kernel code and user programs alike are pre-empted by the tick.
//!
//! Waiting is simple-minded: `wait_until` blocks the task, every interrupt wakes all blocked tasks, and each looks
//! again whether its condition holds. With a handful of tasks that costs less than being clever.

use crate::idt::vector;
use crate::irq::line;
use crate::irq_cell::IrqCell;
use crate::trap::Fault;
use crate::{cpu, frames, gdt, paging, timer};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The most tasks at a time.
pub const MAX: usize = 16;
/// Mapped bytes of a kernel stack; the slot is twice as large, so the page below is a hole.
const STACK_BYTES: u64 = 32 << 10;
/// The task that runs when nobody else wants to.
const IDLE: usize = 1;
/// Numbers that a user program can leave for the kernel to read.
pub const NOTES: usize = 4;

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It said so, with this number.
    Code(u64),
    /// An exception that was its own doing.
    Fault(Fault),
    /// Somebody stopped it.
    Killed,
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No task in this slot.
    Free,
    /// Runs, or could.
    Ready,
    /// In `wait_until`.
    Blocked,
    /// Ended, and nobody has asked how yet.
    Ended,
}

/// One task.
#[derive(Clone, Copy)]
pub struct Task {
    /// What it is doing.
    pub state: State,
    /// Its name, padded with zeros.
    pub name: [u8; 16],
    /// Number, never used twice.
    pub id: u64,
    /// Where its registers lie while it does not run (`switch_stacks`).
    rsp: u64,
    /// Top of its kernel stack; zero while the slot never had one.
    stack_top: u64,
    /// CR3.
    root: u64,
    /// First function, and its argument.
    start: (fn(u64), u64),
    /// Ticks that found it running.
    pub ticks: u64,
    /// How often it was chosen.
    pub switches: u64,
    /// Time-stamp counts that it ran; for the idle task, that it slept.
    pub ran: u64,
    /// How it ended.
    exit: Exit,
    /// See `note`.
    pub notes: [u64; NOTES],
    /// What it writes is thrown away.
    pub quiet: bool,
    /// Is it a user program?
    pub user: bool,
}

struct Tasks {
    slots: [Task; MAX],
    current: usize,
    next_id: u64,
    /// Time-stamp counter at the last switch.
    switched_at: u64,
}

fn nothing(_: u64) {}

static TASKS: IrqCell<Tasks> = IrqCell::new(Tasks {
    slots: [Task {
        state: State::Free,
        name: [0; 16],
        id: 0,
        rsp: 0,
        stack_top: 0,
        root: 0,
        start: (nothing, 0),
        ticks: 0,
        switches: 0,
        ran: 0,
        exit: Exit::Killed,
        notes: [0; NOTES],
        quiet: false,
        user: false,
    }; MAX],
    current: 0,
    next_id: 0,
    switched_at: 0,
});

static STARTED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    static mut kernel_stack_top: u64;
    static boot_stack_top: u8;
    static fresh_fpu: [u8; 512];
    fn switch_stacks(old_rsp: *mut u64, new_rsp: u64);
    fn task_begin();
    fn enter_user(entry: u64, stack: u64, argument: u64) -> !;
}

/// Makes the code that runs now task 0, and starts the idle task.
pub fn init() {
    TASKS.with(|tasks| {
        let task = &mut tasks.slots[0];
        task.state = State::Ready;
        task.name[..5].copy_from_slice(b"shell");
        task.root = paging::kernel_root();
        task.stack_top = &raw const boot_stack_top as u64;
        tasks.next_id = 1;
        tasks.switched_at = cpu::rdtsc();
    });
    let idle = spawn(
        "idle",
        |_| loop {
            cpu::enable_and_halt()
        },
        0,
    );
    assert!(idle == Some(IDLE as u64), "the idle task has a fixed place");
    STARTED.store(true, Relaxed);
}

/// Starts a task in the kernel. `None`: no slot, or no memory.
pub fn spawn(name: &str, function: fn(u64), argument: u64) -> Option<u64> {
    create(name, paging::kernel_root(), (function, argument), false, false)
}

/// A user program that is ready to start: its address space, and the first RIP, RSP and RDI.
#[derive(Clone, Copy)]
pub struct Program {
    /// CR3.
    pub root: u64,
    /// RIP.
    pub entry: u64,
    /// RSP.
    pub stack: u64,
    /// RDI.
    pub argument: u64,
}

/// Starts a user program. Its address space belongs to the task from now on, also when this fails.
pub fn spawn_program(name: &str, program: Program, quiet: bool) -> Option<u64> {
    fn start(slot: u64) {
        let program = PROGRAMS.with(|programs| programs[slot as usize]).expect("set before the task started");
        // SAFETY: the loader mapped the program at its entry, and a stack.
        unsafe { enter_user(program.entry, program.stack, program.argument) }
    }
    cpu::without_interrupts(|| {
        let id = create(name, program.root, (start, u64::MAX), quiet, true);
        match id {
            None => paging::free_space(program.root),
            Some(id) => TASKS.with(|tasks| {
                let slot = tasks.slot_of(id).expect("just made");
                tasks.slots[slot].start.1 = slot as u64;
                PROGRAMS.with(|programs| programs[slot] = Some(program));
            }),
        }
        id
    })
}

static PROGRAMS: IrqCell<[Option<Program>; MAX]> = IrqCell::new([None; MAX]);

fn create(name: &str, root: u64, start: (fn(u64), u64), quiet: bool, user: bool) -> Option<u64> {
    TASKS.with(|tasks| {
        let slot = tasks.slots.iter().position(|task| task.state == State::Free)?;
        if tasks.slots[slot].stack_top == 0 {
            tasks.slots[slot].stack_top = map_stack(slot as u64)?;
        }
        let id = tasks.next_id;
        tasks.next_id += 1;
        let stack_top = tasks.slots[slot].stack_top;
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        tasks.slots[slot] = Task {
            state: State::Ready,
            name: bytes,
            id,
            rsp: first_frame(stack_top),
            stack_top,
            root,
            start,
            ticks: 0,
            switches: 0,
            ran: 0,
            exit: Exit::Killed,
            notes: [0; NOTES],
            quiet,
            user,
        };
        Some(id)
    })
}

fn map_stack(slot: u64) -> Option<u64> {
    let bottom = paging::STACK_BASE + slot * 2 * STACK_BYTES + STACK_BYTES;
    for page in (bottom..bottom + STACK_BYTES).step_by(frames::FRAME as usize) {
        paging::map(paging::kernel_root(), page, frames::alloc()?, paging::W | paging::NX | paging::G);
    }
    Some(bottom + STACK_BYTES)
}

/// Lays out on a fresh stack what `switch_stacks` will take off it.
fn first_frame(top: u64) -> u64 {
    let words = (top - 7 * 8) as *mut u64; // six registers and the return address
    let fpu = top - 7 * 8 - 8 - 512; // as `switch_stacks` leaves room
    // SAFETY: the stack is mapped and nobody runs on it.
    unsafe {
        core::ptr::write_bytes(words, 0, 7);
        words.add(6).write(task_begin as *const () as u64);
        core::ptr::copy_nonoverlapping((&raw const fresh_fpu).cast::<u8>(), fpu as *mut u8, 512);
    }
    fpu
}

/// Called by trap.s on a new task's stack, with interrupts off.
#[unsafe(no_mangle)]
extern "C" fn task_start() -> ! {
    let (function, argument) = TASKS.with(|tasks| tasks.slots[tasks.current].start);
    cpu::enable_interrupts();
    function(argument);
    exit(Exit::Code(0))
}

/// Ends the current task.
pub fn exit(exit: Exit) -> ! {
    cpu::disable_interrupts();
    TASKS.with(|tasks| {
        let task = &mut tasks.slots[tasks.current];
        task.exit = exit;
        task.state = State::Ended;
        tasks.wake_all();
    });
    schedule();
    unreachable!("an ended task is never chosen")
}

/// Ends another task that runs in ring 3 or waits.
pub fn kill(id: u64) {
    TASKS.with(|tasks| {
        if let Some(slot) = tasks.slot_of(id)
            && slot != tasks.current
            && tasks.slots[slot].state != State::Ended
        {
            tasks.slots[slot].state = State::Ended;
            tasks.slots[slot].exit = Exit::Killed;
        }
    });
}

/// Has the task ended?
pub fn has_ended(id: u64) -> bool {
    TASKS.with(|tasks| tasks.slot_of(id).is_none_or(|slot| tasks.slots[slot].state == State::Ended))
}

/// Waits for a task's end, frees what it had, and tells how it ended and what it was at the end.
pub fn wait(id: u64) -> Option<(Exit, Task)> {
    TASKS.with(|tasks| tasks.slot_of(id))?;
    wait_until(u64::MAX, || has_ended(id));
    reap(id)
}

/// Frees an ended task.
pub fn reap(id: u64) -> Option<(Exit, Task)> {
    let task = TASKS.with(|tasks| {
        let slot = tasks.slot_of(id)?;
        let task = tasks.slots[slot];
        (task.state == State::Ended).then(|| {
            tasks.slots[slot].state = State::Free;
            task
        })
    })?;
    if task.user {
        paging::free_space(task.root);
    }
    Some((task.exit, task))
}

/// The task with this number, as it is now.
pub fn get(id: u64) -> Option<Task> {
    TASKS.with(|tasks| tasks.slot_of(id).map(|slot| tasks.slots[slot]))
}

/// The task that is running.
pub fn current() -> Task {
    TASKS.with(|tasks| tasks.slots[tasks.current])
}

/// All tasks, one after the other.
pub fn for_each(mut body: impl FnMut(&Task)) {
    TASKS.with(Tasks::charge);
    for slot in 0..MAX {
        let task = TASKS.with(|tasks| tasks.slots[slot]);
        if task.state != State::Free {
            body(&task);
        }
    }
}

/// Leaves a number for the kernel to read.
pub fn note(index: usize, value: u64) {
    TASKS.with(|tasks| {
        let current = tasks.current;
        if let Some(note) = tasks.slots[current].notes.get_mut(index) {
            *note = value;
        }
    });
}

/// Lets others run.
pub fn yield_now() {
    cpu::without_interrupts(schedule);
}

/// Sleeps until the condition holds or the time has come; tells whether the condition held.
pub fn wait_until(deadline_ns: u64, mut condition: impl FnMut() -> bool) -> bool {
    loop {
        // Looking and falling asleep happen with interrupts off: what the condition is about must not come in
        // between and be slept through.
        let held = cpu::without_interrupts(|| {
            if condition() {
                return Some(true);
            }
            if deadline_ns != u64::MAX && timer::now_ns() >= deadline_ns {
                return Some(false);
            }
            if STARTED.load(Relaxed) {
                TASKS.with(|tasks| {
                    let current = tasks.current;
                    tasks.slots[current].state = State::Blocked;
                });
                schedule();
            } else {
                cpu::enable_and_halt();
                cpu::disable_interrupts();
            }
            None
        });
        if let Some(held) = held {
            return held;
        }
    }
}

/// After an interrupt was handled, with interrupts off: wake, count, and perhaps switch.
pub fn after_interrupt(vector: u64) {
    if !STARTED.load(Relaxed) {
        return;
    }
    let tick = vector == vector::APIC_TIMER
        || vector == vector::PIC + u64::from(line::TIMER)
        || vector == vector::IOAPIC + u64::from(line::TIMER);
    let switch = TASKS.with(|tasks| {
        tasks.wake_all();
        let current = tasks.current;
        tasks.slots[current].ticks += u64::from(tick);
        tick || current == IDLE
    });
    if switch {
        schedule();
    }
}

/// Chooses the next task and switches to it. Interrupts are off.
fn schedule() {
    let switch = TASKS.with(|tasks| {
        let old = tasks.current;
        let new = tasks.choose();
        if new == old {
            return None;
        }
        tasks.charge();
        tasks.current = new;
        let task = &mut tasks.slots[new];
        task.switches += 1;
        let (root, stack_top, rsp) = (task.root, task.stack_top, task.rsp);
        if root != cpu::read_cr3() {
            // SAFETY: every address space has the kernel in its upper half.
            unsafe { cpu::write_cr3(root) };
        }
        gdt::set_kernel_stack(stack_top);
        // SAFETY: trap.s reads it only with interrupts off, as they are now.
        unsafe { kernel_stack_top = stack_top };
        Some((&raw mut tasks.slots[old].rsp, rsp))
    });
    if let Some((old_rsp, new_rsp)) = switch {
        // SAFETY: `new_rsp` came from `switch_stacks` or `first_frame`; the slot stays where it is.
        unsafe { switch_stacks(old_rsp, new_rsp) };
    }
}

impl Tasks {
    fn slot_of(&self, id: u64) -> Option<usize> {
        self.slots.iter().position(|task| task.state != State::Free && task.id == id)
    }

    /// Writes the time since the last switch to the current task's account.
    fn charge(&mut self) {
        let now = cpu::rdtsc();
        self.slots[self.current].ran += now - self.switched_at;
        self.switched_at = now;
    }

    fn wake_all(&mut self) {
        for task in &mut self.slots {
            if task.state == State::Blocked {
                task.state = State::Ready;
            }
        }
    }

    /// Round robin; idle only when nobody is ready.
    fn choose(&self) -> usize {
        (1..=MAX)
            .map(|step| (self.current + step) % MAX)
            .find(|&slot| slot != IDLE && self.slots[slot].state == State::Ready)
            .unwrap_or(IDLE)
    }
}
