/* INT 15h: system services. AH (AX for 24h and E8h) picks one; what is not here answers CF, AH=86h.
 *
 * AX=2400h/2401h A20 off/on, 2402h AL = state, 2403h BX = ways to switch it (2: port 92h)
 * AH=41h      none; AH=4Fh  keyboard intercept: CF set, the code goes on unchanged
 * AH=83h      AL=0: set bit 7 of the byte at ES:BX after CX:DX microseconds; AL=1: never mind
 * AH=86h      wait CX:DX microseconds
 * AH=87h      move CX words (block_move.S); AH=89h is left out
 * AH=88h, AX=E801h, E881h  memory sizes (memory.S); AX=E820h memory map (e820.S)
 * AH=90h/91h  device busy, interrupt complete: hooks for a system, nothing to do
 * AH=C0h      ES:BX = configuration table; AH=C1h ES = extended BIOS data area
 * AH=C2h      pointing device (mouse.S)
 * Left out: APM (53h answers "not present"), joystick (84h), SysRq (85h), EISA, system management.
 */
#include "common.inc"

    .global int15, int15_unsupported
int15:
    cmp ah, 0x4F                        // nearly every call is this one: CF as it was, set by INT 09h
    jne 1f
    iret
1:  BEGIN_SERVICE
    mov si, offset services
2:  cmp ah, cs:[si]
    je 3f
    add si, 3
    cmp si, offset services_end
    jb 2b
    call int15_unsupported
    END_SERVICE
3:  call word ptr cs:[si + 1]
    END_SERVICE

.macro SERVICE function, handler
    .byte \function
    .word \handler
.endm
services:
    SERVICE 0x24, a20_gate
    SERVICE 0x83, event_wait
    SERVICE 0x86, delay
    SERVICE 0x87, int15_87
    SERVICE 0x88, int15_88
    SERVICE 0x90, hook
    SERVICE 0x91, hook
    SERVICE 0xC0, configuration
    SERVICE 0xC1, ebda
    SERVICE 0xC2, int15_c2
    SERVICE 0xE8, memory
services_end:

int15_unsupported:
    mov CALLER_AH, 0x86
    CALLER_STC
    ret

hook:
    mov CALLER_AH, 0
    CALLER_CLC
    ret

a20_gate:
    cmp al, 3
    ja int15_unsupported
    je 3f
    cmp al, 1
    jb 0f
    je 1f
    call a20_state
    mov CALLER_AL, al
    jmp hook
0:  call a20_disable
    jmp hook
1:  call a20_enable
    jmp hook
3:  mov CALLER_BX, 2
    jmp hook

delay:
    sti
    mov ax, cx
    shl eax, 16
    mov ax, dx
    call wait_microseconds
    CALLER_CLC
    ret

event_wait:
    test al, al
    jnz 1f
    cmp byte ptr ds:[BDA_WAIT_ACTIVE], 0
    jne int15_unsupported               // one at a time
    mov byte ptr ds:[BDA_WAIT_ACTIVE], 1
    mov ax, CALLER_BX
    mov ds:[BDA_WAIT_FLAG], ax
    mov ax, CALLER_ES
    mov ds:[BDA_WAIT_FLAG + 2], ax
    mov ds:[BDA_WAIT_TIME], dx
    mov ds:[BDA_WAIT_TIME + 2], cx
    call rtc_periodic_on
    jmp hook
1:  call rtc_periodic_off
    mov byte ptr ds:[BDA_WAIT_ACTIVE], 0
    jmp hook

configuration:
    mov CALLER_ES, cs
    mov CALLER_BX, offset configuration_table
    jmp hook

ebda:
    mov ax, ds:[BDA_EBDA]
    mov CALLER_ES, ax
    CALLER_CLC
    ret

memory:
    cmp al, 0x20
    je int15_e820
    cmp al, 0x01
    je int15_e801
    cmp al, 0x81
    je int15_e881
    jmp int15_unsupported

configuration_table:
    .word 8                             // bytes that follow
    .byte 0xFC, 0x00, 0x01              // model, submodel, revision
    .byte 0x74                          // second 8259A, clock, INT 15h/4Fh called, EBDA
    .byte 0x40                          // INT 16h AH=09h
    .byte 0, 0, 0
