/* 8042 and keyboard: start-up, and INT 09h (IRQ 1), from scan codes to the keyboard buffer.
 *
 * The 8042 translates to scan code set 1. INT 15h AH=4Fh sees each code first and may change or eat it.
 * What a key gives is in keymap.S; INT 16h takes it out of the buffer.
 * Left out: typing rate, the lights, SysRq (INT 15h AH=85h), print screen beyond calling INT 05h.
 */
#include "common.inc"
#include "keys.inc"

#define KBC_READ_COMMAND   0x20         /* commands to port 64h */
#define KBC_WRITE_COMMAND  0x60
#define KBC_DISABLE_AUX    0xA7
#define KBC_SELF_TEST      0xAA
#define KBC_DISABLE        0xAD
#define KBC_ENABLE         0xAE
#define COMMAND_BYTE       0x61         /* translate, mouse off, IRQ 1 on */
#define COMMAND_SYSTEM     0x04         /* self test passed */

#define KEYBOARD_RESET     0xFF
#define KEYBOARD_ENABLE    0xF4
#define ACKNOWLEDGE        0xFA
#define RESET_PASSED       0xAA

    .global keyboard_init, int09, key_store, kbc_command, kbc_write, kbc_read

/* Waits for room in the input buffer. Out: CF when there is none in 50 ms. Clobbers EAX. */
kbc_wait_room:
    in al, KBC_COMMAND
    test al, KBC_IBF
    jz 2f
    push ecx
    push dx
    mov ecx, 50 * PIT_PER_MS
    call limit_start
1:  in al, KBC_COMMAND
    test al, KBC_IBF
    jz 3f
    call limit_passed
    jnc 1b
3:  pop dx
    pop ecx
2:  ret

/* In: AL = command for the 8042. Out: CF when it took none. */
kbc_command:
    push eax
    call kbc_wait_room
    pop eax
    jc 1f
    out KBC_COMMAND, al
1:  ret

/* In: AL = byte for port 60h. Out: CF as above. */
kbc_write:
    push eax
    call kbc_wait_room
    pop eax
    jc 1f
    out KBC_DATA, al
1:  ret

/* In: CX = milliseconds to wait. Out: AL = byte, or CF. Clobbers EAX. */
kbc_read:
    in al, KBC_COMMAND
    test al, KBC_OBF
    jnz 4f
    push ecx
    push dx
    movzx eax, cx
    imul ecx, eax, PIT_PER_MS
    call limit_start
1:  in al, KBC_COMMAND
    test al, KBC_OBF
    jnz 3f
    call limit_passed
    jnc 1b
3:  pop dx
    pop ecx
    jc 5f
4:  in al, KBC_DATA
    clc
5:  ret

/* Out: ready to type, or, with no controller or keyboard there, left alone. Clobbers EAX, CX. */
keyboard_init:
    mov al, KBC_DISABLE
    call kbc_command
    jc 9f
    mov al, KBC_DISABLE_AUX
    call kbc_command
    mov cx, 64                          // whatever is left over
1:  in al, KBC_COMMAND
    test al, KBC_OBF
    jz 2f
    in al, KBC_DATA
    loop 1b
2:  mov al, KBC_SELF_TEST
    call kbc_command
    mov cx, 100
    call kbc_read
    jc 9f
    cmp al, 0x55
    jne 9f
    mov al, KBC_WRITE_COMMAND
    call kbc_command
    mov al, COMMAND_BYTE & ~1 | COMMAND_SYSTEM  // no interrupts while we talk to it
    call kbc_write
    mov al, KBC_ENABLE
    call kbc_command
    mov al, KEYBOARD_RESET
    call kbc_write
    mov cx, 100
    call kbc_read
    jc 3f
    cmp al, ACKNOWLEDGE
    jne 3f
    mov cx, 750                         // the keyboard's own self-test
    call kbc_read
    jc 3f
    cmp al, RESET_PASSED
    jne 3f
    mov al, KEYBOARD_ENABLE
    call kbc_write
    mov cx, 100
    call kbc_read
    mov byte ptr ds:[BDA_KEY_MODE], MODE_101_KEYS
3:  mov al, KBC_WRITE_COMMAND
    call kbc_command
    mov al, COMMAND_BYTE | COMMAND_SYSTEM
    call kbc_write
9:  ret

int09:
    BEGIN_SERVICE
    in al, KBC_DATA
    mov ah, 0x4F
    stc
    int 0x15                            // may be hooked: CF clear eats the code
    jnc 1f
    push BDA_SEG
    pop ds
    call scan_code
1:  cli
    call irq_finish
    END_SERVICE

/* In: AL = scan code of set 1. DH = 0 for a press, 80h for a release, DL = the code without that. */
scan_code:
    mov ah, ds:[BDA_KEY_MODE]
    cmp al, 0xE0
    je prefix_e0
    cmp al, 0xE1
    je prefix_e1
    cmp al, 0xFA                        // answers to commands are no keys
    jae scan_done
    mov dx, 0x807F
    and dh, al
    and dl, al
    test ah, MODE_E1
    jnz pause_key
    mov bh, ah
    and bh, MODE_E0                     // BH: the prefix came before
    and byte ptr ds:[BDA_KEY_MODE], ~MODE_E0
    call shift_key
    jc scan_done
    test dh, dh
    jnz scan_done                       // other keys matter when pressed
    test byte ptr ds:[BDA_SHIFT2], SHIFT2_PAUSE
    jz 1f
    and byte ptr ds:[BDA_SHIFT2], ~SHIFT2_PAUSE
    ret
1:  call special_key
    jc scan_done
    call key_lookup                     // keymap.S: AX, or CF for no key
    jc scan_done
    call key_store
scan_done:
    ret
prefix_e0:
    or byte ptr ds:[BDA_KEY_MODE], MODE_E0
    ret
prefix_e1:
    or byte ptr ds:[BDA_KEY_MODE], MODE_E1
    ret

/* Pause comes as E1 1D 45 and E1 9D C5. On the press, waits in here until another key. */
pause_key:
    cmp dl, 0x45
    jne scan_done
    and byte ptr ds:[BDA_KEY_MODE], ~MODE_E1
    test dh, dh
    jnz scan_done
    or byte ptr ds:[BDA_SHIFT2], SHIFT2_PAUSE
    call irq_finish
1:  sti
    hlt
    cli
    test byte ptr ds:[BDA_SHIFT2], SHIFT2_PAUSE
    jnz 1b
    ret                                 // int09's second EOI finds nothing in service

/* Shift, Ctrl, Alt and the locks. In: BH, DX as above. Out: CF when it was one of them. */
shift_key:
    mov si, offset shift_keys
1:  mov ax, cs:[si]                     // AL = code, AH = bit in BDA_SHIFT
    cmp al, dl
    je 2f
    add si, 4
    cmp si, offset shift_keys_end
    jb 1b
    clc
    ret
2:  mov cx, cs:[si + 2]                 // CL = bit in BDA_SHIFT2, CH = kind
    cmp ch, KIND_SHIFT
    jne 3f
    test bh, bh
    jnz 9f                              // E0 2A and E0 36 wrap other keys: no real shift
3:  cmp ch, KIND_LOCK
    je lock_key
    cmp ch, KIND_SIDES
    jne 4f
    test bh, bh                         // right Ctrl or Alt has its own bit in BDA_KEY_MODE
    jz 4f
    shl cl, 2                           // 1, 2 on the left are 4, 8 on the right
    test dh, dh
    jnz 5f
    or ds:[BDA_KEY_MODE], cl
    or ds:[BDA_SHIFT], ah
    jmp 9f
5:  not cl
    and ds:[BDA_KEY_MODE], cl
    jmp 6f
4:  test dh, dh
    jnz 7f
    or ds:[BDA_SHIFT], ah
    or ds:[BDA_SHIFT2], cl
    jmp 9f
7:  not cl
    and ds:[BDA_SHIFT2], cl
    cmp ch, KIND_SIDES
    je 6f
    not ah
    and ds:[BDA_SHIFT], ah
    jmp 9f
/* One side of Ctrl or Alt was let go: the common bit stays while the other side is down. */
6:  not ah
    and ds:[BDA_SHIFT], ah
    mov al, ds:[BDA_KEY_MODE]
    shr al, 2
    or al, ds:[BDA_SHIFT2]
    and al, 0x03                        // Ctrl, Alt
    shl al, 2                           // ... where BDA_SHIFT has them
    or ds:[BDA_SHIFT], al
    test ah, SHIFT_ALT
    jnz 9f
    xor al, al                          // Alt released: the number typed on the keypad is a key
    xchg al, ds:[BDA_ALT_ENTRY]
    test al, al
    jz 9f
    xor ah, ah
    call key_store
9:  stc
    ret

/* Num Lock with Ctrl would be Pause on the old keyboard; here a lock toggles at its first press. */
lock_key:
    cmp dl, CODE_SCROLL
    jne 1f
    test bh, bh
    jnz 8f                              // E0 46: Ctrl-Break, a special key
    test byte ptr ds:[BDA_SHIFT], SHIFT_CTRL
    jnz 8f
1:  test dh, dh
    jnz 2f
    test ds:[BDA_SHIFT2], cl            // held: repeats do not count
    jnz 9b
    or ds:[BDA_SHIFT2], cl
    xor ds:[BDA_SHIFT], ah
    cmp dl, CODE_INSERT
    jne 9b
8:  clc                                 // Insert is a key as well
    ret
2:  not cl
    and ds:[BDA_SHIFT2], cl
    stc
    ret

.macro SHIFT_KEY code, bit, held, kind
    .byte \code, \bit, \held, \kind
.endm
shift_keys:
    SHIFT_KEY CODE_SHIFT_L, SHIFT_LEFT,   0,            KIND_SHIFT
    SHIFT_KEY CODE_SHIFT_R, SHIFT_RIGHT,  0,            KIND_SHIFT
    SHIFT_KEY CODE_CTRL,    SHIFT_CTRL,   0x01,         KIND_SIDES
    SHIFT_KEY CODE_ALT,     SHIFT_ALT,    0x02,         KIND_SIDES
    SHIFT_KEY CODE_CAPS,    SHIFT_CAPS,   0x40,         KIND_LOCK
    SHIFT_KEY CODE_NUM,     SHIFT_NUM,    0x20,         KIND_LOCK
    SHIFT_KEY CODE_SCROLL,  SHIFT_SCROLL, 0x10,         KIND_LOCK
    SHIFT_KEY CODE_INSERT,  SHIFT_INSERT, 0x80,         KIND_LOCK
shift_keys_end:

/* Keys that act at once: Ctrl-Alt-Del, Ctrl-Break, Print Screen, digits of an Alt number.
 * In: DL = code, BH = prefix. Out: CF when it was one. */
special_key:
    mov ah, ds:[BDA_SHIFT]
    cmp dl, CODE_DELETE
    jne 1f
    mov al, ah
    and al, SHIFT_CTRL | SHIFT_ALT
    cmp al, SHIFT_CTRL | SHIFT_ALT
    jne 4f
    mov word ptr ds:[BDA_WARM_BOOT], 0x1234
    jmp reboot
1:  cmp dl, CODE_SCROLL
    jne 2f
    test bh, bh
    jnz 5f
    test ah, SHIFT_CTRL
    jz 4f
5:  or byte ptr ds:[BDA_BREAK], 0x80
    mov ax, BDA_KEY_BUFFER
    mov ds:[BDA_KEY_HEAD], ax
    mov ds:[BDA_KEY_TAIL], ax
    int 0x1B
    xor ax, ax
    call key_store
    stc
    ret
2:  cmp dl, CODE_PRINT
    jne 3f
    test bh, bh
    jz 3f
    test ah, SHIFT_CTRL | SHIFT_ALT
    jnz 4f
    int 0x05
    stc
    ret
3:  test ah, SHIFT_ALT
    jz 4f
    test bh, bh
    jnz 4f
    movzx si, dl
    sub si, 0x47
    jb 4f
    cmp si, 0x52 - 0x47
    ja 4f
    mov cl, cs:[keypad_digits + si]
    cmp cl, 9
    ja 4f
    mov al, ds:[BDA_ALT_ENTRY]
    mov ch, 10
    mul ch
    add al, cl
    mov ds:[BDA_ALT_ENTRY], al
    stc
    ret
4:  clc
    ret

keypad_digits: .byte 7, 8, 9, 0xFF, 4, 5, 6, 0xFF, 1, 2, 3, 0

/* In: AX = key (scan code, character). Out: CF when the buffer is full. Clobbers BX, SI. */
key_store:
    mov bx, ds:[BDA_KEY_TAIL]
    mov si, bx
    add bx, 2
    cmp bx, ds:[BDA_KEY_END]
    jb 1f
    mov bx, ds:[BDA_KEY_START]
1:  cmp bx, ds:[BDA_KEY_HEAD]
    je 2f
    mov ds:[si], ax
    mov ds:[BDA_KEY_TAIL], bx
    clc
    ret
2:  stc
    ret
