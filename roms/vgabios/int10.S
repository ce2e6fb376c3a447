/* INT 10h: video. AH picks the service; each is described where it is.
 *
 * 00h mode (modes.S)             01h-03h cursor, 05h page (cursor.S)    06h-0Ah, 0Eh, 13h (text.S)
 * 0Fh mode, 1Ah, 1Bh, 12h (info.S)      10h palette (palette.S)         11h fonts (fontload.S)
 * 0Ch, 0Dh pixels (pixel.S; in CGA's modes cga.S)      0Bh CGA's palette (cga.S)
 * 1Ch save and restore (state.S)        4Fh VBE (vbe.S, vbe_mode.S, protected.S, monitor.S)
 * Left out: light pen (04h: none).
 */
#include "common.inc"

    .global int10
int10:
    BEGIN_SERVICE
    cmp ah, 0x4F
    je 2f
    DISPATCH ah, services, 0x1D, 1f
1:  END_SERVICE
2:  call int10_4f
    jmp 1b

services:
    .word int10_00, int10_01, int10_02, int10_03, int10_04, int10_05, int10_06, int10_07
    .word int10_08, int10_09, int10_0a, int10_0b, int10_0c, int10_0d, int10_0e, int10_0f
    .word int10_10, int10_11, int10_12, int10_13, nothing,  nothing,  nothing,  nothing
    .word nothing,  nothing,  int10_1a, int10_1b
    .word int10_1c

/* AH=04h: AH = 0, the light pen is not triggered. */
int10_04:
    mov CALLER_AH, 0
nothing:
    ret
