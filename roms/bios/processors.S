/* The other processors: each is started once, makes its memory types like the first one's, and halts.
 *
 * SDM 3A, "MP Initialization Protocol Algorithm for MP Systems"; MultiProcessor Specification 1.4, "Universal Start-up
 * Algorithm". They begin in real mode at the page that the start-up message names, here one of this segment, and take
 * turns on one stack. In: the first processor's caches are set up, interrupts off. Out: they wait for INIT.
 * How many there are is fw_cfg's item 5; none are looked for without it.
 * Clobbers everything but DS, ES, SS:SP.
 */
#include "common.inc"

#define ITEM_PROCESSORS 0x0005
#define APIC_ICR        0xFEE00300
#define ICR_OTHERS      0x000C0000      /* all but this one */
#define ICR_INIT        0x00004500
#define ICR_STARTUP     0x00004600
#define OTHERS_STACK    0x6000          /* below POST's */
#define PATIENCE        (1193182 / 2)   /* half a second for all of them */

    .global processors_init
processors_init:
    call cpu_has_apic
    jc 9f
    mov ax, ITEM_PROCESSORS
    call fw_cfg_item
    jc 9f
    cmp ax, 1
    jbe 9f
    dec ax
    mov cs:[others_left], ax
    mov word ptr cs:[others_lock], 0
    push ds
    push es
    push fs
    call flat_enter
    mov edi, APIC_ICR
    mov dword ptr [edi], ICR_OTHERS | ICR_INIT
    mov eax, offset others_start + (BIOS_SEG << 4)
    shr eax, 12
    or eax, ICR_OTHERS | ICR_STARTUP
    mov [edi], eax
    call flat_leave
    pop fs
    pop es
    pop ds
    mov ecx, PATIENCE
    call limit_start
1:  pause
    cmp word ptr cs:[others_left], 0
    je 9f
    call limit_passed
    jnc 1b
9:  ret

/* On another processor, behind others_start. */
    .global others_enter
others_enter:
    cli
    cld
1:  pause
    lock bts word ptr cs:[others_lock], 0
    jc 1b
    xor ax, ax
    mov ss, ax
    mov esp, OTHERS_STACK
    call cache_init
    mov word ptr cs:[others_lock], 0
    lock dec word ptr cs:[others_left]
2:  hlt
    jmp 2b

    .balign 2
others_lock: .word 0
others_left: .word 0

/* Where a start-up message can point: a page of its own, entered with IP = 0. */
    .section .startup, "ax"
    .global others_start
others_start:
    FAR_JUMP BIOS_SEG, others_enter
