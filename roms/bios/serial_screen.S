/* The text screen on a serial line as well, and keys from there: for machines whose board names a port in the fw_cfg file
 * "etc/sercon-port" (a word).
 *
 * In: INT 10h as ever; it goes on to the VGA BIOS. What 00h, 06h, 07h, 09h, 0Ah, 0Eh and 13h put on the shown page of a text
 * mode is sent, too, with ANSI sequences (ECMA-48) for where it stands and in which colours. Bytes that come in become
 * keys, at each tick and whenever INT 16h looks; ESC sequences become cursor keys and F1 to F4.
 * A character of 09h or 0Ah waits for the next call: one that is written over at once by 0Eh, as iPXE does for its
 * colours, is not sent.
 * Left out: what is written to video memory past the BIOS, graphics, the shape of the cursor; characters beyond ASCII
 * become '?' or, where they draw lines, '+', '-' and '|'.
 */
#include "common.inc"

#define UART_DATA     0
#define UART_IER      1
#define UART_FCR      2
#define UART_LCR      3
#define UART_MCR      4
#define UART_LSR      5
#define LSR_READY     0x01
#define LSR_EMPTY     0x20

#define NOWHERE       0xFFFF            /* of EBDA_SERIAL_AT: the terminal's cursor may be anywhere */
#define SAVED_AX      word ptr [bp + 38] /* behind the frame, while the VGA BIOS has been called */
#define PLAIN         0x07              /* the attribute that ESC [ 0 m stands for */
#define ESCAPE_KEY    0x011B
#define ESCAPE_TICKS  2                 /* after which ESC was no beginning of a sequence */

    .global serial_screen_init, serial_keys, serial_tick

/* Clobbers EAX, BX, ECX, EDX, SI, DI. */
serial_screen_init:
    mov si, offset file_name
    call fw_cfg_find
    jc 9f
    cmp ecx, 2
    jb 9f
    mov dx, FW_CFG_DATA
    in al, dx
    mov ah, al
    in al, dx
    xchg al, ah
    test ax, ax
    jz 9f
    mov bx, ax
    push fs
    push EBDA_SEG
    pop fs
    mov fs:[EBDA_SERIAL_PORT], bx
    lea dx, [bx + UART_LCR]
    mov al, 0x83                        // divisor 1: 115200, eight bits, one stop bit
    out dx, al
    mov dx, bx
    mov al, 1
    out dx, al
    inc dx
    xor al, al
    out dx, al
    lea dx, [bx + UART_LCR]
    mov al, 0x03
    out dx, al
    lea dx, [bx + UART_FCR]
    mov al, 0x01                        // with FIFOs
    out dx, al
    lea dx, [bx + UART_MCR]
    mov al, 0x03                        // DTR and RTS
    out dx, al
    mov byte ptr fs:[EBDA_SERIAL_ATTRIBUTE], PLAIN
    mov ax, ds:[BDA_CURSOR]
    mov fs:[EBDA_SERIAL_AT], ax
    pop fs
    xor ax, ax
    push ds
    mov ds, ax
    mov eax, ds:[0x10 * 4]
    mov cs:[old_int10], eax             // POST may still write to the BIOS's segment
    mov word ptr ds:[0x10 * 4], offset int10
    mov ds:[0x10 * 4 + 2], cs
    pop ds
9:  ret

old_int10: .long 0
file_name: .asciz "etc/sercon-port"

int10:
    cmp ah, 0x13
    je string
    BEGIN_SERVICE
    call prepare
    call is_text
    jnz 1f
    call before
1:  mov sp, bp
    pop fs
    pop es
    pop ds
    popad
    push ax
    pushf
    lcall cs:[old_int10]
    BEGIN_SERVICE
    call prepare
    call is_text
    jnz 1f
    mov ax, SAVED_AX
    call after
1:  mov sp, bp
    pop fs
    pop es
    pop ds
    popad
    lea esp, [esp + 2]
    iret

/* Out: FS = EBDA, AX to DX as the caller has them. */
prepare:
    push EBDA_SEG
    pop fs
    ret

/* Out: ZF when a text mode is shown. Every register is kept. */
is_text:
    push ax
    mov al, ds:[BDA_VIDEO_MODE]
    and al, 0x7F
    cmp al, 7
    je 1f
    and al, 0xFC
1:  pop ax
    ret

/* Before the VGA BIOS's turn. In: AX = the caller's. */
before:
    cmp ah, 0x0E
    je teletype
    cmp ah, 0x03                        // asking for the cursor shows nothing
    je 9f
    cmp ah, 0x08
    je 9f
    cmp ah, 0x0F
    jne flush
9:  ret

teletype:
    call shown_cursor
    cmp al, 0x07
    je 1f
    cmp al, 0x08
    je 1f
    cmp al, 0x0A
    je 1f
    cmp al, 0x0D
    je 1f
    cmp fs:[EBDA_SERIAL_CELL], dx
    jne 2f
    cmp word ptr fs:[EBDA_SERIAL_COUNT], 1
    jne 2f
    mov word ptr fs:[EBDA_SERIAL_COUNT], 0      // what waited is written over
2:  call flush
    mov ch, al
    call cell
    mov al, ah                          // it gets the colours that are there
    call colours
    call go_to
    mov al, ch
    jmp send_character
1:  call flush
    call go_to
    jmp send

/* After the VGA BIOS's turn. In: AX = the caller's; BX, CX, DX = the caller's, which these functions keep. */
after:
    cmp ah, 0x00
    je mode_set
    cmp ah, 0x06
    je window
    cmp ah, 0x07
    je window
    cmp ah, 0x0E
    je teletype_done
    and ah, ~0x03 & 0xFF
    cmp ah, 0x08                        // 08h to 0Bh
    jne 9f
    mov ax, SAVED_AX
    cmp ah, 0x09
    je 1f
    cmp ah, 0x0A
    jne 9f
1:  cmp bh, ds:[BDA_PAGE]
    jne 9f
    call shown_cursor
    mov fs:[EBDA_SERIAL_CELL], dx
    mov fs:[EBDA_SERIAL_COUNT], cx
9:  ret

teletype_done:
    call shown_cursor
    cmp al, 0x08
    je 1f
    cmp al, 0x0D
    je 1f
    test dl, dl
    jnz 1f
    cmp byte ptr fs:[EBDA_SERIAL_AT], 0 // the row was full: the terminal may wait with its new one
    je 1f
    call new_line
1:  mov fs:[EBDA_SERIAL_AT], dx
    ret

mode_set:
    test al, 0x80                       // memory is kept
    jnz 9f
    mov byte ptr fs:[EBDA_SERIAL_ATTRIBUTE], PLAIN
    mov si, offset clear_all
    call send_text
    mov word ptr fs:[EBDA_SERIAL_AT], 0
9:  mov word ptr fs:[EBDA_SERIAL_COUNT], 0
    ret

/* The rows of a window that was scrolled or cleared, as they are now. */
window:
    mov bl, ds:[BDA_LAST_ROW]
    cmp dh, bl
    jbe 1f
    mov dh, bl
1:  mov bl, ds:[BDA_COLUMNS]
    dec bl
    cmp dl, bl
    jbe 2f
    mov dl, bl
2:  mov si, dx                          // SI = lower right
    mov dx, cx
3:  mov ax, si
    cmp dh, ah
    ja 9f
    mov ch, 0
    mov cl, al
    sub cl, dl
    jb 9f
    inc cx
    push dx
    call cells
    pop dx
    inc dh
    jmp 3b
9:  ret

/* AH=13h: character by character. The VGA BIOS has no part in it. */
string:
    BEGIN_SERVICE
    cmp bh, ds:[BDA_PAGE]
    jne other_page
    mov es, CALLER_ES
    mov si, CALLER_BP
    movzx di, bh
    shl di, 1
    push word ptr ds:[BDA_CURSOR + di]
    mov ah, 0x02
    int 0x10
    mov bl, CALLER_BL
    jcxz 5f
1:  mov al, es:[si]
    inc si
    test CALLER_AL, 0x02                // attributes in the string
    jz 2f
    mov bl, es:[si]
    inc si
2:  push cx
    cmp al, 0x07
    je 3f
    cmp al, 0x08
    je 3f
    cmp al, 0x0A
    je 3f
    cmp al, 0x0D
    je 3f
    mov cx, 1
    mov ah, 0x09
    int 0x10
3:  mov ah, 0x0E
    int 0x10
    pop cx
    loop 1b
5:  pop dx
    test CALLER_AL, 0x01                // the cursor moves
    jnz 6f
    mov ah, 0x02
    int 0x10
6:  END_SERVICE
other_page:
    mov sp, bp
    pop fs
    pop es
    pop ds
    popad
    ljmp cs:[old_int10]

/* Sends what waits. Every register but SI is kept. */
flush:
    cmp word ptr fs:[EBDA_SERIAL_COUNT], 0
    je 9f
    push cx
    push dx
    mov cx, fs:[EBDA_SERIAL_COUNT]
    mov dx, fs:[EBDA_SERIAL_CELL]
    mov word ptr fs:[EBDA_SERIAL_COUNT], 0
    call cells
    pop dx
    pop cx
9:  ret

/* Sends CX cells of video memory from DL, DH (column, row) on, which end with the screen. Clobbers CX, DX. */
cells:
    push ax
1:  cmp dh, ds:[BDA_LAST_ROW]
    ja 9f
    call cell
    push ax
    mov al, ah
    call colours
    call go_to
    pop ax
    call send_character
    inc dl
    mov fs:[EBDA_SERIAL_AT], dx
    cmp dl, ds:[BDA_COLUMNS]
    jb 2f
    mov word ptr fs:[EBDA_SERIAL_AT], NOWHERE
    mov dl, 0
    inc dh
2:  loop 1b
9:  pop ax
    ret

/* Out: DL, DH = the shown page's cursor. */
shown_cursor:
    push bx
    movzx bx, byte ptr ds:[BDA_PAGE]
    shl bx, 1
    mov dx, ds:[BDA_CURSOR + bx]
    pop bx
    ret

/* In: DL, DH = column, row. Out: AL = character there, AH = attribute. */
cell:
    push bx
    push cx
    push es
    push 0xB800
    pop es
    cmp byte ptr ds:[BDA_VIDEO_MODE], 7
    jne 1f
    push 0xB000
    pop es
1:  movzx bx, dh
    imul bx, ds:[BDA_COLUMNS]
    movzx cx, dl
    add bx, cx
    shl bx, 1
    add bx, ds:[BDA_PAGE_START]
    mov ax, es:[bx]
    pop es
    pop cx
    pop bx
    ret

/* Moves the terminal's cursor to DL, DH. Every register is kept. */
go_to:
    cmp fs:[EBDA_SERIAL_AT], dx
    je 9f
    mov fs:[EBDA_SERIAL_AT], dx
    push ax
    call send_introducer
    mov al, dh
    inc al
    call send_number
    mov al, ';'
    call send
    mov al, dl
    inc al
    call send_number
    mov al, 'H'
    call send
    pop ax
9:  ret

/* Chooses the colours of an attribute, AL. Every other register is kept. */
colours:
    cmp fs:[EBDA_SERIAL_ATTRIBUTE], al
    je 9f
    mov fs:[EBDA_SERIAL_ATTRIBUTE], al
    push bx
    mov bl, al
    call send_introducer
    mov al, '0'
    call send
    cmp bl, PLAIN
    je 2f
    test bl, 0x08
    jz 1f
    mov ax, ';' | '1' << 8
    call send_two
1:  mov ax, ';' | '3' << 8
    call send_two
    mov al, bl
    call send_colour
    mov ax, ';' | '4' << 8
    call send_two
    mov al, bl
    shr al, 4
    call send_colour
2:  mov al, 'm'
    call send
    pop bx
9:  ret

/* In: AL = a VGA's colour in its low three bits. It has red where ANSI has blue. */
send_colour:
    push bx
    movzx bx, al
    and bl, 7
    mov al, cs:[bx + ansi_colours]
    pop bx
    jmp send

ansi_colours: .ascii "04261537"

/* In: AL, up to 255. Clobbers AX. */
send_number:
    xor ah, ah
    push bx
    mov bl, 10
    div bl
    pop bx
    test al, al
    jz 1f
    push ax
    call send_number
    pop ax
1:  mov al, ah
    add al, '0'
    jmp send

send_introducer:
    mov ax, 0x1B | '[' << 8
send_two:                               // AL, then AH
    call send
    mov al, ah
    jmp send

new_line:
    push ax
    mov ax, 0x0A0D
    call send_two
    pop ax
    ret

/* In: CS:SI = text, zero-terminated. Clobbers AL, SI. */
send_text:
    mov al, cs:[si]
    inc si
    test al, al
    jz 9f
    call send
    jmp send_text
9:  ret

clear_all: .asciz "\033[0m\033[2J\033[H"

/* In: AL = a character of code page 437. Clobbers AL. */
send_character:
    cmp al, 0x20
    jae 1f
    test al, al
    jnz 8f
    mov al, ' '
1:  cmp al, 0x7F
    jb send
    cmp al, 0xB3
    jb 8f
    cmp al, 0xDA
    ja 8f
    cmp al, 0xB3
    je 6f
    cmp al, 0xBA
    je 6f
    cmp al, 0xC4
    je 7f
    cmp al, 0xCD
    je 7f
    mov al, '+'
    jmp send
6:  mov al, '|'
    jmp send
7:  mov al, '-'
    jmp send
8:  mov al, '?'

/* In: AL = byte, FS = EBDA. It is lost when the line does not take it. Every register is kept. */
send:
    push cx
    push dx
    push ax
    mov dx, fs:[EBDA_SERIAL_PORT]
    add dx, UART_LSR
    xor cx, cx
1:  in al, dx
    test al, LSR_EMPTY
    loopz 1b
    pop ax
    sub dx, UART_LSR
    out dx, al
    pop dx
    pop cx
    ret

/* At each tick. DS = BIOS data area, interrupts off. Every register is kept. */
serial_tick:
    push fs
    push EBDA_SEG
    pop fs
    cmp byte ptr fs:[EBDA_SERIAL_STATE], 0
    je 1f
    inc byte ptr fs:[EBDA_SERIAL_AGE]
    cmp byte ptr fs:[EBDA_SERIAL_AGE], ESCAPE_TICKS
    jb 1f
    mov byte ptr fs:[EBDA_SERIAL_STATE], 0
    pushad
    mov ax, ESCAPE_KEY
    call key_store
    popad
1:  pop fs

/* Turns what has come in into keys. As above. */
serial_keys:
    push fs
    push EBDA_SEG
    pop fs
    cmp word ptr fs:[EBDA_SERIAL_PORT], 0
    je 9f
    pushad
1:  mov dx, fs:[EBDA_SERIAL_PORT]
    add dx, UART_LSR
    in al, dx
    cmp al, 0xFF                        // nobody there
    je 8f
    test al, LSR_READY
    jz 8f
    sub dx, UART_LSR
    in al, dx
    mov byte ptr fs:[EBDA_SERIAL_AGE], 0
    call byte_in
    jmp 1b
8:  popad
9:  pop fs
    ret

/* In: AL = a byte. Clobbers AX, BX, CX, SI. */
byte_in:
    cmp byte ptr fs:[EBDA_SERIAL_STATE], 1
    je escaped
    ja sequence
    cmp al, 0x1B
    je 1f
    call key_of_character
    jmp key_store
1:  mov word ptr fs:[EBDA_SERIAL_STATE], 1      // and no number
    ret
escaped:
    cmp al, '['
    je 2f
    cmp al, 'O'
    je 2f
    mov byte ptr fs:[EBDA_SERIAL_STATE], 0
    push ax
    mov ax, ESCAPE_KEY
    call key_store
    pop ax
    jmp byte_in
2:  inc byte ptr fs:[EBDA_SERIAL_STATE]
    ret
sequence:
    cmp al, '0'
    jb 3f
    cmp al, '9'
    ja 3f
    mov fs:[EBDA_SERIAL_NUMBER], al
    ret
3:  mov byte ptr fs:[EBDA_SERIAL_STATE], 0
    mov ah, fs:[EBDA_SERIAL_NUMBER]
    mov si, offset sequences
4:  cmp ax, cs:[si]
    je 5f
    add si, 3
    cmp si, offset sequences_end
    jb 4b
    ret
5:  mov ah, cs:[si + 2]
    xor al, al
    jmp key_store

.macro SEQUENCE last, number, scan_code
    .byte \last, \number, \scan_code
.endm
sequences:
    SEQUENCE 'A', 0, 0x48               // up
    SEQUENCE 'B', 0, 0x50               // down
    SEQUENCE 'C', 0, 0x4D               // right
    SEQUENCE 'D', 0, 0x4B               // left
    SEQUENCE 'H', 0, 0x47               // home
    SEQUENCE 'F', 0, 0x4F               // end
    SEQUENCE 'P', 0, 0x3B               // F1
    SEQUENCE 'Q', 0, 0x3C
    SEQUENCE 'R', 0, 0x3D
    SEQUENCE 'S', 0, 0x3E
    SEQUENCE '~', '1', 0x47             // home
    SEQUENCE '~', '2', 0x52             // insert
    SEQUENCE '~', '3', 0x53             // delete
    SEQUENCE '~', '4', 0x4F             // end
    SEQUENCE '~', '5', 0x49             // page up
    SEQUENCE '~', '6', 0x51             // page down
sequences_end:
