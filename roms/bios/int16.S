/* INT 16h: keyboard.
 *
 * AH=00h wait for a key: AH = scan code, AL = character
 * AH=01h ZF set when there is none, else AX = key, left in the buffer
 * AH=02h AL = shift flags
 * AH=05h put CX into the buffer: AL = 0 done, 1 full
 * AH=09h AL = abilities: 10h-12h are there (20h)
 * AH=10h, 11h as 00h, 01h, with the 101-key keyboard's own keys; AH=12h AX = both bytes of flags
 * Left out: AH=03h and 04h (typing rate, click) do nothing; AH=0Ah keyboard identification.
 */
#include "common.inc"
#include "keys.inc"

    .global int16
int16:
    BEGIN_SERVICE
    mov dl, ah
    and dl, 0xEF                        // 10h, 11h, 12h go with 00h, 01h, 02h
    cmp ah, 0x12
    ja 9f
    cmp dl, 2
    jbe 1f
    cmp ah, 0x05
    je put_key
    cmp ah, 0x09
    jne 9f
    mov CALLER_AL, 0x20
9:  END_SERVICE
1:  je shift_state
    cmp dl, 1
    je look

/* Waits with the processor halted: STI takes effect after HLT has begun, so no key slips between. */
2:  cli
    call peek
    jz 3f
    mov ds:[BDA_KEY_HEAD], bx
    mov CALLER_AX, ax
    END_SERVICE
3:  sti
    hlt
    jmp 2b

look:
    and CALLER_FLAGS, ~FLAG_ZF & 0xFF
    cli
    call peek
    jz 1f
    mov CALLER_AX, ax
    END_SERVICE
1:  or CALLER_FLAGS, FLAG_ZF
    END_SERVICE

shift_state:
    mov al, ds:[BDA_SHIFT]
    mov CALLER_AL, al
    cmp ah, 0x12
    jne 1f
    mov al, ds:[BDA_SHIFT2]             // AH: left Ctrl, left Alt, right Ctrl, right Alt, locks held
    and al, 0x73
    mov cl, al                          // Insert's bit 7 gives way to SysRq, which we do not follow
    mov al, ds:[BDA_KEY_MODE]
    and al, MODE_CTRL_R | MODE_ALT_R
    or al, cl
    mov CALLER_AH, al
1:  END_SERVICE

put_key:
    mov ax, cx
    cli
    call key_store
    mov CALLER_AL, 0
    jnc 1f
    mov CALLER_AL, 1
1:  END_SERVICE

/* The next key as the caller's function shows it; keys that 00h and 01h do not know are thrown away.
 * Out: ZF when there is none, else AX = key, BX = the head after it. */
peek:
    call serial_keys
    mov bx, ds:[BDA_KEY_HEAD]
1:  cmp bx, ds:[BDA_KEY_TAIL]
    je 9f
    mov ax, ds:[bx]
    add bx, 2
    cmp bx, ds:[BDA_KEY_END]
    jb 2f
    mov bx, ds:[BDA_KEY_START]
2:  test CALLER_AH, 0x10
    jnz 6f
    cmp ah, 0xE0                        // keypad Enter and slash are like the other ones
    jne 3f
    mov ah, 0x1C
    cmp al, '/'
    jne 6f
    mov ah, 0x35
    jmp 6f
3:  cmp al, 0xE0
    jne 4f
    test ah, ah
    jz 6f
    xor al, al                          // grey cursor keys are like the keypad's
    jmp 6f
4:  cmp ah, 0x85
    jb 6f
    cmp al, 0
    jne 6f
    mov ds:[BDA_KEY_HEAD], bx           // F11, Ctrl-Up and their like
    jmp 1b
6:  test sp, sp                         // ZF clear
9:  ret
