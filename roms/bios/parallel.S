/* Parallel ports: finding them, and INT 17h.
 *
 * INT 17h, DX = port 0-2: AH=00h print AL, AH=01h initialise, AH=02h status. AH = status:
 *   bit 7 not busy, 6 acknowledge, 5 no paper, 4 selected, 3 error, 0 time-out.
 */
#include "common.inc"

#define LPT_STATUS  1
#define LPT_CONTROL 2

    .global parallel_init, int17

/* A port is there when its data latch reads back. Clobbers AX, BX, DX, SI. */
parallel_init:
    mov si, offset places
    mov bx, BDA_LPT
1:  mov dx, cs:[si]
    mov al, 0xAA
    out dx, al
    in al, dx
    cmp al, 0xAA
    jne 2f
    mov al, 0x55
    out dx, al
    in al, dx
    cmp al, 0x55
    jne 2f
    mov [bx], dx
    add bx, 2
2:  add si, 2
    cmp si, offset places_end
    jb 1b
    sub bx, BDA_LPT
    shl bx, 13
    or ds:[BDA_EQUIPMENT], bx
    ret

places: .word 0x378, 0x278, 0x3BC
places_end:

int17:
    BEGIN_SERVICE
    sti
    cmp dx, 2
    ja 8f
    mov si, dx
    mov cl, ds:[BDA_LPT_TIMEOUT + si]
    shl si, 1
    mov dx, ds:[BDA_LPT + si]
    test dx, dx
    jz 8f
    DISPATCH ah, functions, 3, 9f
9:  END_SERVICE
8:  mov CALLER_AH, 0x01                 // no port: timed out
    END_SERVICE

functions: .word print_byte, reset_printer, status

print_byte:
    out dx, al
    mov di, dx
    movzx ecx, cl
    shl ecx, 16                         // the unit is about 55 ms
    call limit_start
1:  push dx
    lea dx, [di + LPT_STATUS]
    in al, dx
    pop dx
    test al, 0x80                       // not busy
    jnz 2f
    call limit_passed
    jnc 1b
    mov dx, di
    call status
    or CALLER_AH, 0x01
    ret
2:  lea dx, [di + LPT_CONTROL]
    mov al, 0x0D                        // strobe, a pulse
    out dx, al
    mov al, 0x0C
    out dx, al
    mov dx, di
status:
    inc dx
    in al, dx
    xor al, 0x48                        // acknowledge and error are active low
    and al, 0xF8
    mov CALLER_AH, al
    ret

reset_printer:
    mov di, dx
    lea dx, [di + LPT_CONTROL]
    mov al, 0x08                        // INIT low, for at least 50 microseconds
    out dx, al
    mov eax, 60
    push dx
    call wait_microseconds
    pop dx
    mov al, 0x0C
    out dx, al
    mov dx, di
    jmp status
