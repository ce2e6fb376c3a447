/* Address line 20, by port 92h bit 1 (PIIX3 sheet, "PORT 92"). Used by POST and by INT 15h AH=24h. */
#include "common.inc"

    .global a20_enable, a20_disable, a20_state
/* Clobbers AL. */
a20_enable:
    in al, SYSTEM_A
    or al, 2
    and al, 0xFE                        // bit 0 would reset the machine
    out SYSTEM_A, al
    ret

/* Clobbers AL. */
a20_disable:
    in al, SYSTEM_A
    and al, 0xFC
    out SYSTEM_A, al
    ret

/* Out: AL = 1 when the line is enabled, else 0. */
a20_state:
    in al, SYSTEM_A
    shr al, 1
    and al, 1
    ret
