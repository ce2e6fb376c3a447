/* PS/2 mouse: INT 15h AH=C2h and INT 74h (IRQ 12).
 *
 * AL=00h BH = 1 on, 0 off          AL=01h reset: BH = device id, BL = AAh
 * AL=02h rate: BH = 0-6 for 10, 20, 40, 60, 80, 100, 200 a second
 * AL=03h resolution BH = 0-3       AL=04h BH = device id
 * AL=05h start with packets of BH bytes (1 to 8)
 * AL=06h BH = 1 scaling 1:1, 2 scaling 2:1, 0 status: BL, CL resolution, DL rate
 * AL=07h handler at ES:BX; each packet calls it with four words on the stack: status, X, Y, 0
 * Out: CF and AH: 00h done, 01h bad function, 02h bad parameter, 03h no answer, 05h no handler.
 * Left out: packets of more than three bytes reach the handler by their first three.
 */
#include "common.inc"

#define KBC_ENABLE_AUX    0xA8
#define KBC_DISABLE       0xAD
#define KBC_ENABLE        0xAE
#define KBC_READ_COMMAND  0x20
#define KBC_WRITE_COMMAND 0x60
#define KBC_TO_MOUSE      0xD4
#define CB_IRQ12          0x02
#define CB_AUX_OFF        0x20

#define MOUSE_SCALE_1     0xE6
#define MOUSE_SCALE_2     0xE7
#define MOUSE_RESOLUTION  0xE8
#define MOUSE_STATUS      0xE9
#define MOUSE_ID          0xF2
#define MOUSE_RATE        0xF3
#define MOUSE_ENABLE      0xF4
#define MOUSE_DISABLE     0xF5
#define MOUSE_RESET       0xFF
#define MOUSE_ACK         0xFA

#define OK            0
#define BAD_FUNCTION  1
#define BAD_PARAMETER 2
#define NO_ANSWER     3
#define NO_HANDLER    5
#define HANDLER_SET   0x80              /* EBDA_MOUSE_FLAG */

    .global int15_c2, int74

/* Interrupts stay off and the keyboard's line held while we poll for the mouse's answers. */
int15_c2:
    push EBDA_SEG
    pop fs
    mov ah, BAD_FUNCTION
    movzx si, al
    cmp si, 8
    jae 1f
    shl si, 1
    mov bx, CALLER_BX
    push ax
    mov al, KBC_DISABLE
    call kbc_command
    pop ax
    call word ptr cs:[si + functions]
    push ax
    mov al, KBC_ENABLE
    call kbc_command
    pop ax
1:  mov CALLER_AH, ah
    CALLER_CLC
    test ah, ah
    jz 2f
    CALLER_STC
2:  ret

functions: .word switch, reset, rate, resolution, identify, start, status, handler

switch:
    cmp bh, 1
    ja bad_parameter
    mov al, MOUSE_DISABLE
    jb 1f
    mov ah, NO_HANDLER
    test byte ptr fs:[EBDA_MOUSE_FLAG], HANDLER_SET
    jz 2f
    mov al, MOUSE_ENABLE
1:  mov byte ptr fs:[EBDA_MOUSE_DATA], 0
    and byte ptr fs:[EBDA_MOUSE_FLAG], 0xF8
    jmp tell
2:  ret

start:
    mov al, bh
    dec al
    cmp al, 8
    jae bad_parameter
    mov fs:[EBDA_MOUSE_SIZE], al
    and byte ptr fs:[EBDA_MOUSE_FLAG], 0xF8
reset:
    mov al, KBC_ENABLE_AUX
    call kbc_command
    call interrupt_on
    mov al, MOUSE_RESET
    call tell
    jnz 1f
    mov cx, 750                         // the mouse's own self-test
    call kbc_read
    jc no_answer
    mov CALLER_BL, al
    mov cx, 100
    call kbc_read
    jc no_answer
    mov CALLER_BH, al
    mov ah, OK
1:  ret

rate:
    cmp bh, 6
    ja bad_parameter
    movzx si, bh
    mov bh, cs:[rates + si]
    mov al, MOUSE_RATE
tell_two:
    call tell
    jnz 1f
    mov al, bh
    jmp tell
1:  ret

rates: .byte 10, 20, 40, 60, 80, 100, 200

resolution:
    cmp bh, 3
    ja bad_parameter
    mov al, MOUSE_RESOLUTION
    jmp tell_two

identify:
    mov al, MOUSE_ID
    call tell
    jnz 1f
    mov cx, 100
    call kbc_read
    jc no_answer
    mov CALLER_BH, al
    mov ah, OK
1:  ret

status:
    mov al, MOUSE_SCALE_1
    cmp bh, 1
    je tell
    mov al, MOUSE_SCALE_2
    cmp bh, 2
    je tell
    ja bad_parameter
    mov al, MOUSE_STATUS
    call tell
    jnz 1f
    mov cx, 100
    call kbc_read
    jc no_answer
    mov CALLER_BL, al
    mov cx, 100
    call kbc_read
    jc no_answer
    mov CALLER_CL, al
    mov cx, 100
    call kbc_read
    jc no_answer
    mov CALLER_DL, al
    mov ah, OK
1:  ret

handler:
    mov fs:[EBDA_MOUSE_CALL], bx
    mov ax, CALLER_ES
    mov fs:[EBDA_MOUSE_CALL + 2], ax
    or ax, bx
    and byte ptr fs:[EBDA_MOUSE_FLAG], ~HANDLER_SET & 0xFF
    test ax, ax
    mov ah, OK
    jz 1f
    or byte ptr fs:[EBDA_MOUSE_FLAG], HANDLER_SET
1:  ret

bad_parameter:
    mov ah, BAD_PARAMETER
    ret
no_answer:
    mov ah, NO_ANSWER
    ret

/* Sends AL to the mouse. Out: AH = 0 and ZF, once acknowledged; else AH = 3. Clobbers EAX, CX. */
tell:
    push ax
    mov al, KBC_TO_MOUSE
    call kbc_command
    pop ax
    jc 1f
    call kbc_write
    jc 1f
    mov cx, 100
    call kbc_read
    jc 1f
    cmp al, MOUSE_ACK
    jne 1f
    xor ah, ah
    ret
1:  mov ah, NO_ANSWER
    test ah, ah
    ret

/* IRQ 12 on, the mouse's line open, in the 8042's command byte. */
interrupt_on:
    mov al, KBC_READ_COMMAND
    call kbc_command
    mov cx, 100
    call kbc_read
    jc 1f
    or al, CB_IRQ12
    and al, ~CB_AUX_OFF & 0xFF
    push ax
    mov al, KBC_WRITE_COMMAND
    call kbc_command
    pop ax
    call kbc_write
1:  ret

int74:
    BEGIN_SERVICE
    push EBDA_SEG
    pop fs
    in al, KBC_COMMAND
    and al, KBC_OBF | KBC_AUX
    cmp al, KBC_OBF | KBC_AUX
    jne 9f
    in al, KBC_DATA
    test byte ptr fs:[EBDA_MOUSE_FLAG], HANDLER_SET
    jz 9f
    movzx bx, byte ptr fs:[EBDA_MOUSE_FLAG]
    and bx, 7
    mov fs:[EBDA_MOUSE_DATA + bx], al
    cmp bl, fs:[EBDA_MOUSE_SIZE]
    jae 1f
    inc byte ptr fs:[EBDA_MOUSE_FLAG]
    jmp 9f
1:  and byte ptr fs:[EBDA_MOUSE_FLAG], 0xF8
    call irq_finish_slave
    movzx ax, byte ptr fs:[EBDA_MOUSE_DATA]
    push ax
    movzx ax, byte ptr fs:[EBDA_MOUSE_DATA + 1]
    push ax
    movzx ax, byte ptr fs:[EBDA_MOUSE_DATA + 2]
    push ax
    push 0
    push cs
    push offset 8f
    push dword ptr fs:[EBDA_MOUSE_CALL]
    retf                                // calls the handler, which comes back here
8:  END_SERVICE                         // the stack is BP's again
9:  call irq_finish_slave
    END_SERVICE
