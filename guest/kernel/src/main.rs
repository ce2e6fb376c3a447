//! The kernel of the bundled teaching system. `kernel_main` below is the order in which it comes to life,
//! and a good order for reading; guest/README.md has the longer list.

#![no_std]
#![no_main]
#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

mod apic;
mod boot_info;
mod console;
mod cpu;
mod frames;
mod gdt;
mod ide;
mod idt;
mod irq;
mod irq_cell;
mod keyboard;
#[allow(dead_code)]
#[path = "../../layout.rs"]
mod layout;
mod memory_functions;
mod oops;
mod paging;
mod pci;
mod pic;
mod port;
mod power;
mod processors;
mod program;
mod ring;
mod rtc;
mod selftest;
mod serial;
mod shell;
mod syscall;
mod task;
mod timer;
mod trap;
mod vga;

core::arch::global_asm!(include_str!("entry.s"));

/// Called by entry.s in long mode, on the boot stack, with SSE on and interrupts off.
#[unsafe(no_mangle)]
extern "C" fn kernel_main() -> ! {
    // A console first, so that everything after can say what it does.
    serial::init();
    vga::init();
    println!(
        "emu-guest {}: long mode, kernel at {:#x}",
        env!("GUEST_VERSION"),
        kernel_main as *const () as u64
    );
    let info = boot_info::get();
    assert!(info.magic == boot_info::MAGIC, "the loader left no boot information");
    println!(
        "boot: drive {:#x} read by {}, A20 {}",
        info.drive,
        info.load_method_name(),
        info.a20_method_name()
    );

    // Exceptions, then memory.
    gdt::init();
    idt::init();
    frames::init(info);
    paging::init(info);
    let info = boot_info::get();
    let (total, _) = frames::counts();
    println!(
        "memory: {} KiB in {} ranges",
        total * 4,
        info.map().iter().filter(|range| range.kind == 1).count()
    );

    // Interrupts: first by the 8259 pair with the 8254's tick, then by the APICs if there are any.
    pic::init();
    timer::init_pit(timer::NORMAL_HZ);
    irq::unmask(irq::line::TIMER);
    cpu::enable_interrupts();
    task::wait_until(u64::MAX, || timer::ticks() >= 2);
    if apic::find() {
        cpu::without_interrupts(irq::switch_to_apic);
        let (local, io) = apic::versions();
        let inputs = apic::inputs();
        println!(
            "interrupts: 8259 pair, then local APIC {:#x} and I/O APIC {:#x} with {inputs} inputs",
            local & 0xFF,
            io & 0xFF
        );
    } else {
        println!("interrupts: 8259 pair");
    }
    timer::calibrate();
    println!("timer: {} Hz, processor {} MHz", 1_000_000_000 / timer::period_ns(), timer::tsc_khz() / 1000);

    // Tasks, system calls, devices.
    task::init();
    syscall::init();
    irq::unmask(irq::line::SERIAL);
    serial::listen();
    let keyboard = keyboard::init();
    irq::unmask(irq::line::KEYBOARD);
    irq::unmask(irq::line::RTC);
    irq::unmask(irq::line::IDE);
    println!("keyboard: {}", if keyboard { "ready" } else { "none" });
    match ide::init() {
        Ok(drive) => println!("disk: {} sectors", drive.sectors),
        Err(error) => println!("disk: {error:?}"),
    }
    println!("Type help for a list of commands.");
    shell::run_forever()
}
