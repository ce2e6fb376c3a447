/* 8254 timer: IRQ 0 at 18.2 Hz, and time limits for those who poll.
 *
 * INT 08h  IRQ 0: counts the tick, notes midnight, stops diskette motors in time, calls INT 1Ch.
 * INT 1Ah  AH=00h read ticks: CX:DX = ticks since midnight, AL = midnights passed since last read
 *          AH=01h set ticks from CX:DX
 * 8254 sheet, "Mode 2: Rate Generator", "Counter Latch Command".
 */
#include "common.inc"

#define TICKS_A_DAY 0x001800B0

    .global timer_init, timer_set_from_rtc, int08, int1a_00, int1a_01
    .global limit_start, limit_passed, wait_microseconds

/* Channel 0 at 65536 counts, channel 1 as the AT's refresh had it, channel 2 ready for the speaker.
 * Clobbers AL. */
timer_init:
    PORT_OUT PIT_CONTROL, 0x34          // channel 0, low then high byte, mode 2
    PORT_OUT PIT_CHANNEL0, 0
    out PIT_CHANNEL0, al
    PORT_OUT PIT_CONTROL, 0x54          // channel 1, low byte, mode 2
    PORT_OUT PIT_CHANNEL1, 18
    PORT_OUT PIT_CONTROL, 0xB6          // channel 2, low then high byte, mode 3
    PORT_OUT PIT_CHANNEL2, 0x33         // 1331 counts: 896 Hz, the AT's beep
    PORT_OUT PIT_CHANNEL2, 0x05
    in al, SYSTEM_B
    and al, 0xFC                        // speaker and its gate off
    out SYSTEM_B, al
    ret

/* Ticks since midnight, from the clock's hours, minutes and seconds:
 * 1193182 / 65536 Hz is 18.2065 a second; ticks = seconds * 1193182 / 65536. Clobbers EAX-EDX. */
timer_set_from_rtc:
    call rtc_wait_stable
    mov al, 4
    call rtc_read_number
    imul ecx, eax, 3600
    mov al, 2
    call rtc_read_number
    imul eax, eax, 60
    add ecx, eax
    xor al, al
    call rtc_read_number
    add eax, ecx
    mov edx, 1193182
    mul edx
    shrd eax, edx, 16
    mov ds:[BDA_TICKS], eax
    ret

int08:
    push eax
    push ds
    mov ax, BDA_SEG
    mov ds, ax
    mov eax, ds:[BDA_TICKS]
    inc eax
    cmp eax, TICKS_A_DAY
    jb 1f
    xor eax, eax
    inc byte ptr ds:[BDA_MIDNIGHT]
1:  mov ds:[BDA_TICKS], eax
    push dx
    call floppy_tick
    call serial_tick
    int 0x1C
    cli
    pop dx
    call irq_finish
    pop ds
    pop eax
    iret

int1a_00:
    cli
    mov ax, ds:[BDA_TICKS]
    mov CALLER_DX, ax
    mov ax, ds:[BDA_TICKS + 2]
    mov CALLER_CX, ax
    xor al, al
    xchg al, ds:[BDA_MIDNIGHT]
    mov CALLER_AL, al
    CALLER_CLC
    ret

int1a_01:
    cli
    mov ds:[BDA_TICKS], dx
    mov ds:[BDA_TICKS + 2], cx
    mov byte ptr ds:[BDA_MIDNIGHT], 0
    CALLER_CLC
    ret

/* Out: AX = channel 0's count. */
timer_read:
    pushf
    cli
    PORT_OUT PIT_CONTROL, 0             // latch channel 0
    in al, PIT_CHANNEL0
    mov ah, al
    in al, PIT_CHANNEL0
    xchg al, ah
    popf
    ret

/* A time limit is ECX (counts left, 1193182 a second) and DX (the last count seen).
 * In: ECX = counts. Out: DX. Clobbers AX. */
limit_start:
    call timer_read
    mov dx, ax
    ret

/* Takes what has passed since the last call from ECX. The counter's reload value is not ours to
 * know, so at a wrap only what was left of the old round counts: limits may run long, never short.
 * In: ECX, DX. Out: CF when the time is over; ECX, DX brought up to date. Clobbers EAX. */
limit_passed:
    call timer_read
    xchg ax, dx
    cmp ax, dx
    jb 1f
    sub ax, dx
1:  movzx eax, ax
    sub ecx, eax
    ret

/* In: EAX = microseconds. Clobbers EAX, ECX, EDX. */
wait_microseconds:
    mov ecx, 1193182
    mul ecx
    mov ecx, 1000000
    cmp edx, ecx                        // beyond an hour: stay below the divide limit
    jae 2f
    div ecx
    mov ecx, eax
    call limit_start
1:  call limit_passed
    jnc 1b
2:  ret
