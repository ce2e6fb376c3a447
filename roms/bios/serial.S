/* Serial ports: finding them, and INT 14h.
 *
 * INT 14h, DX = port 0-3:
 *   AH=00h initialise from AL (bits 7:5 rate, 4:3 parity, 2 stop bits, 1:0 word length); status back
 *   AH=01h send AL: AH bit 7 set when it could not be sent in time
 *   AH=02h receive: AL = byte, AH = line status, bit 7 set when none came in time
 *   AH=03h AH = line status, AL = modem status
 * 16550 sheet, "Register Summary". Left out: the PS/2's extended set-up, AH=04h and 05h.
 */
#include "common.inc"

#define UART_DATA 0                     /* RBR, THR, divisor low */
#define UART_IER  1
#define UART_IIR  2
#define UART_LCR  3
#define UART_MCR  4
#define UART_LSR  5
#define UART_MSR  6

#define LSR_READY 0x01                  /* a byte has come */
#define LSR_EMPTY 0x20                  /* THR has room */
#define MSR_READY 0x30                  /* DSR and CTS */

    .global serial_init, int14

/* Looks for UARTs at the PC's four addresses: one answers in IER and has the upper bits of IIR clear.
 * Clobbers AX, BX, CX, DX, SI. */
serial_init:
    mov si, offset places
    mov bx, BDA_COM
1:  mov dx, cs:[si]
    inc dx
    mov al, 0x05                        // IER reads back what is written to its low four bits
    out dx, al
    in al, dx
    mov ah, al
    xor al, al
    out dx, al
    cmp ah, 0x05
    jne 2f
    inc dx
    in al, dx
    and al, 0x3E                        // no interrupt is pending with all disabled
    jnz 2f
    mov dx, cs:[si]
    mov [bx], dx
    add bx, 2
2:  add si, 2
    cmp si, offset places_end
    jb 1b
    shl bx, 8                           // ports found times 2, where the equipment word has them
    or ds:[BDA_EQUIPMENT], bx
    ret

places: .word 0x3F8, 0x2F8, 0x3E8, 0x2E8
places_end:

int14:
    BEGIN_SERVICE
    sti
    cmp dx, 3
    ja 9f
    mov si, dx
    mov cl, ds:[BDA_COM_TIMEOUT + si]   // in units of about a second
    shl si, 1
    mov dx, ds:[BDA_COM + si]
    test dx, dx
    jz 9f
    DISPATCH ah, functions, 4, 9f
9:  END_SERVICE

functions: .word initialise, send, receive, status

initialise:
    mov bl, al
    add dx, UART_LCR
    mov al, 0x80                        // DLAB: the divisor
    out dx, al
    movzx si, bl
    shr si, 5
    shl si, 1
    mov cx, cs:[divisors + si]
    sub dx, UART_LCR
    mov al, cl
    out dx, al
    inc dx
    mov al, ch
    out dx, al
    add dx, UART_LCR - 1
    mov al, bl
    and al, 0x1F
    out dx, al
    sub dx, UART_LCR - UART_IER
    xor al, al
    out dx, al
    dec dx
status:
    add dx, UART_LSR
    in al, dx
    mov CALLER_AH, al
    inc dx
    in al, dx
    mov CALLER_AL, al
    ret

divisors: .word 1047, 768, 384, 192, 96, 48, 24, 12    // 110 to 9600 baud

send:
    push ax
    mov al, 0x03                        // DTR, RTS
    mov ah, MSR_READY
    mov bl, LSR_EMPTY
    call wait_line
    pop bx
    jc 1f
    sub dx, UART_LSR
    mov al, bl
    out dx, al
1:  ret

receive:
    mov al, 0x01                        // DTR
    mov ah, 0x20                        // DSR
    mov bl, LSR_READY
    call wait_line
    jc 1f
    sub dx, UART_LSR
    in al, dx
    mov CALLER_AL, al
    and CALLER_AH, 0x1E                 // only the error bits
1:  ret

/* In: AL = modem control, AH = modem status wanted, BL = line status wanted, CL = limit, DX = port.
 * Out: CALLER_AH = line status, bit 7 and CF set when it took too long; DX = LSR. Clobbers EAX, ECX, SI. */
wait_line:
    add dx, UART_MCR
    out dx, al
    add dx, UART_MSR - UART_MCR
    mov bh, ah
    movzx ecx, cl
    shl ecx, 20                         // 0.88 s
    push dx
    call limit_start
    mov si, dx
    pop dx
1:  in al, dx
    and al, bh
    cmp al, bh
    je 3f
    call 5f
    jnc 1b
3:  dec dx
4:  in al, dx
    mov ah, al
    and al, bl
    jnz 6f
    call 5f
    jnc 4b
    in al, dx
    or al, 0x80
    mov CALLER_AH, al
    stc
    ret
5:  xchg dx, si
    call limit_passed
    xchg dx, si
    ret
6:  mov CALLER_AH, ah
    clc
    ret
