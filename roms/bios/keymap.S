/* What each key gives: character in the low byte, scan code (or a code of its own) in the high one.
 *
 * IBM PS/2 and PC BIOS Technical Reference, "Keyboard: Keystroke Table". US layout. Zero: nothing.
 * The keypad's second column is what Num Lock turns on; the grey keys, with the prefix E0, have E0
 * as their character, so that INT 16h AH=10h can tell them apart.
 */
#include "common.inc"
#include "keys.inc"

#define FIRST_KEYPAD 0x47
#define LAST_KEYPAD  0x53
#define KEYS         0x58

    .global key_lookup, key_of_character

/* In: DL = scan code, BH = nonzero after the prefix E0. Out: AX = key, or CF. Clobbers SI, CX. */
key_lookup:
    mov cl, ds:[BDA_SHIFT]
    test bh, bh
    jnz grey_key
    movzx si, dl
    dec si
    cmp si, KEYS
    jae none
    shl si, 3
    add si, offset keymap
    test cl, SHIFT_ALT
    jnz 4f
    test cl, SHIFT_CTRL
    jnz 3f
    mov ax, cs:[si]
    cmp dl, FIRST_KEYPAD
    jb 1f
    cmp dl, LAST_KEYPAD
    ja 1f
    test cl, SHIFT_NUM                  // on the keypad, Num Lock and Shift undo each other
    setnz ch
    jmp 2f
1:  cmp al, 'a'
    jb 5f
    cmp al, 'z'
    ja 5f
    test cl, SHIFT_CAPS                 // on letters, Caps Lock and Shift do
    setnz ch
    jmp 2f
5:  xor ch, ch
2:  test cl, SHIFT_LEFT | SHIFT_RIGHT
    setnz cl
    cmp cl, ch
    je 9f
    mov ax, cs:[si + 2]
    jmp 9f
3:  mov ax, cs:[si + 4]
    cmp dl, 0x03                        // Ctrl-2 is the NUL character
    je found
    jmp 9f
4:  mov ax, cs:[si + 6]
9:  test ax, ax
    jz none
found:
    clc
    ret
none:
    stc
    ret

/* Cursor keys and the like, keypad Enter and slash. */
grey_key:
    mov si, offset grey_keys
1:  cmp dl, cs:[si]
    je 2f
    add si, 7
    cmp si, offset grey_keys_end
    jb 1b
    jmp cursor_key
2:  mov ax, cs:[si + 1]
    test cl, SHIFT_ALT
    jnz 4f
    test cl, SHIFT_CTRL
    jz 9b
    mov ax, cs:[si + 3]
    jmp 9b
4:  mov ax, cs:[si + 5]
    jmp 9b
cursor_key:
    cmp dl, FIRST_KEYPAD
    jb none
    cmp dl, LAST_KEYPAD
    ja none
    movzx si, dl
    dec si
    shl si, 3
    add si, offset keymap
    mov ax, cs:[si + 6]
    test cl, SHIFT_ALT
    jnz 9b
    mov ax, cs:[si + 4]
    test cl, SHIFT_CTRL
    jnz 5f
    mov ah, dl
5:  mov al, 0xE0
    jmp found

/* In: AL = character. Out: AX = the key that gives it, alone, with Shift or with Ctrl; AH = 0 when none does.
 * Clobbers SI, CX. */
key_of_character:
    mov si, offset keymap
    mov cx, KEYS
1:  cmp al, cs:[si]
    je 2f
    cmp al, cs:[si + 2]
    je 3f
    cmp al, cs:[si + 4]
    je 4f
5:  add si, 8
    loop 1b
    xor ah, ah
    ret
4:  add si, 2
3:  add si, 2
2:  mov ax, cs:[si]
    ret

.macro GREY code, normal, ctrl, alt
    .byte \code
    .word \normal, \ctrl, \alt
.endm
grey_keys:
    GREY 0x1C, 0xE00D, 0xE00A, 0xA600   // keypad Enter
    GREY 0x35, 0xE02F, 0x9500, 0xA400   // keypad /
grey_keys_end:

.macro KEY normal, shift, ctrl, alt
    .word \normal, \shift, \ctrl, \alt
.endm
keymap:
    KEY 0x011B, 0x011B, 0x011B, 0x0100  // 01 Esc
    KEY 0x0231, 0x0221, 0x0000, 0x7800  // 02 1
    KEY 0x0332, 0x0340, 0x0300, 0x7900  // 03 2
    KEY 0x0433, 0x0423, 0x0000, 0x7A00  // 04 3
    KEY 0x0534, 0x0524, 0x0000, 0x7B00  // 05 4
    KEY 0x0635, 0x0625, 0x0000, 0x7C00  // 06 5
    KEY 0x0736, 0x075E, 0x071E, 0x7D00  // 07 6
    KEY 0x0837, 0x0826, 0x0000, 0x7E00  // 08 7
    KEY 0x0938, 0x092A, 0x0000, 0x7F00  // 09 8
    KEY 0x0A39, 0x0A28, 0x0000, 0x8000  // 0A 9
    KEY 0x0B30, 0x0B29, 0x0000, 0x8100  // 0B 0
    KEY 0x0C2D, 0x0C5F, 0x0C1F, 0x8200  // 0C -
    KEY 0x0D3D, 0x0D2B, 0x0000, 0x8300  // 0D =
    KEY 0x0E08, 0x0E08, 0x0E7F, 0x0E00  // 0E Backspace
    KEY 0x0F09, 0x0F00, 0x9400, 0xA500  // 0F Tab
    KEY 0x1071, 0x1051, 0x1011, 0x1000  // 10 Q
    KEY 0x1177, 0x1157, 0x1117, 0x1100  // 11 W
    KEY 0x1265, 0x1245, 0x1205, 0x1200  // 12 E
    KEY 0x1372, 0x1352, 0x1312, 0x1300  // 13 R
    KEY 0x1474, 0x1454, 0x1414, 0x1400  // 14 T
    KEY 0x1579, 0x1559, 0x1519, 0x1500  // 15 Y
    KEY 0x1675, 0x1655, 0x1615, 0x1600  // 16 U
    KEY 0x1769, 0x1749, 0x1709, 0x1700  // 17 I
    KEY 0x186F, 0x184F, 0x180F, 0x1800  // 18 O
    KEY 0x1970, 0x1950, 0x1910, 0x1900  // 19 P
    KEY 0x1A5B, 0x1A7B, 0x1A1B, 0x1A00  // 1A [
    KEY 0x1B5D, 0x1B7D, 0x1B1D, 0x1B00  // 1B ]
    KEY 0x1C0D, 0x1C0D, 0x1C0A, 0x1C00  // 1C Enter
    KEY 0x0000, 0x0000, 0x0000, 0x0000  // 1D Ctrl
    KEY 0x1E61, 0x1E41, 0x1E01, 0x1E00  // 1E A
    KEY 0x1F73, 0x1F53, 0x1F13, 0x1F00  // 1F S
    KEY 0x2064, 0x2044, 0x2004, 0x2000  // 20 D
    KEY 0x2166, 0x2146, 0x2106, 0x2100  // 21 F
    KEY 0x2267, 0x2247, 0x2207, 0x2200  // 22 G
    KEY 0x2368, 0x2348, 0x2308, 0x2300  // 23 H
    KEY 0x246A, 0x244A, 0x240A, 0x2400  // 24 J
    KEY 0x256B, 0x254B, 0x250B, 0x2500  // 25 K
    KEY 0x266C, 0x264C, 0x260C, 0x2600  // 26 L
    KEY 0x273B, 0x273A, 0x0000, 0x2700  // 27 ;
    KEY 0x2827, 0x2822, 0x0000, 0x2800  // 28 '
    KEY 0x2960, 0x297E, 0x0000, 0x2900  // 29 `
    KEY 0x0000, 0x0000, 0x0000, 0x0000  // 2A left Shift
    KEY 0x2B5C, 0x2B7C, 0x2B1C, 0x2B00  // 2B backslash
    KEY 0x2C7A, 0x2C5A, 0x2C1A, 0x2C00  // 2C Z
    KEY 0x2D78, 0x2D58, 0x2D18, 0x2D00  // 2D X
    KEY 0x2E63, 0x2E43, 0x2E03, 0x2E00  // 2E C
    KEY 0x2F76, 0x2F56, 0x2F16, 0x2F00  // 2F V
    KEY 0x3062, 0x3042, 0x3002, 0x3000  // 30 B
    KEY 0x316E, 0x314E, 0x310E, 0x3100  // 31 N
    KEY 0x326D, 0x324D, 0x320D, 0x3200  // 32 M
    KEY 0x332C, 0x333C, 0x0000, 0x3300  // 33 ,
    KEY 0x342E, 0x343E, 0x0000, 0x3400  // 34 .
    KEY 0x352F, 0x353F, 0x0000, 0x3500  // 35 /
    KEY 0x0000, 0x0000, 0x0000, 0x0000  // 36 right Shift
    KEY 0x372A, 0x372A, 0x9600, 0x3700  // 37 keypad *
    KEY 0x0000, 0x0000, 0x0000, 0x0000  // 38 Alt
    KEY 0x3920, 0x3920, 0x3920, 0x3920  // 39 space
    KEY 0x0000, 0x0000, 0x0000, 0x0000  // 3A Caps Lock
    KEY 0x3B00, 0x5400, 0x5E00, 0x6800  // 3B F1
    KEY 0x3C00, 0x5500, 0x5F00, 0x6900  // 3C F2
    KEY 0x3D00, 0x5600, 0x6000, 0x6A00  // 3D F3
    KEY 0x3E00, 0x5700, 0x6100, 0x6B00  // 3E F4
    KEY 0x3F00, 0x5800, 0x6200, 0x6C00  // 3F F5
    KEY 0x4000, 0x5900, 0x6300, 0x6D00  // 40 F6
    KEY 0x4100, 0x5A00, 0x6400, 0x6E00  // 41 F7
    KEY 0x4200, 0x5B00, 0x6500, 0x6F00  // 42 F8
    KEY 0x4300, 0x5C00, 0x6600, 0x7000  // 43 F9
    KEY 0x4400, 0x5D00, 0x6700, 0x7100  // 44 F10
    KEY 0x0000, 0x0000, 0x0000, 0x0000  // 45 Num Lock
    KEY 0x0000, 0x0000, 0x0000, 0x0000  // 46 Scroll Lock
    KEY 0x4700, 0x4737, 0x7700, 0x9700  // 47 Home
    KEY 0x4800, 0x4838, 0x8D00, 0x9800  // 48 Up
    KEY 0x4900, 0x4939, 0x8400, 0x9900  // 49 Page Up
    KEY 0x4A2D, 0x4A2D, 0x8E00, 0x4A00  // 4A keypad -
    KEY 0x4B00, 0x4B34, 0x7300, 0x9B00  // 4B Left
    KEY 0x4C00, 0x4C35, 0x8F00, 0x0000  // 4C keypad 5
    KEY 0x4D00, 0x4D36, 0x7400, 0x9D00  // 4D Right
    KEY 0x4E2B, 0x4E2B, 0x9000, 0x4E00  // 4E keypad +
    KEY 0x4F00, 0x4F31, 0x7500, 0x9F00  // 4F End
    KEY 0x5000, 0x5032, 0x9100, 0xA000  // 50 Down
    KEY 0x5100, 0x5133, 0x7600, 0xA100  // 51 Page Down
    KEY 0x5200, 0x5230, 0x9200, 0xA200  // 52 Insert
    KEY 0x5300, 0x532E, 0x9300, 0xA300  // 53 Delete
    KEY 0x0000, 0x0000, 0x0000, 0x0000  // 54 SysRq
    KEY 0x0000, 0x0000, 0x0000, 0x0000  // 55 -
    KEY 0x565C, 0x567C, 0x0000, 0x0000  // 56 102nd key
    KEY 0x8500, 0x8700, 0x8900, 0x8B00  // 57 F11
    KEY 0x8600, 0x8800, 0x8A00, 0x8C00  // 58 F12
