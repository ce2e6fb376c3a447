/* The last sixteen bytes below 4 GiB: where the processor starts, the BIOS date and the model byte.
 *
 * SDM 3A, "First Instruction Executed": CS has the base FFFF0000h until the first far jump, which
 * takes us to the alias of the same ROM below 1 MiB.
 */
#include "common.inc"

    .section .reset, "ax"
    .global reset_vector
reset_vector:
    FAR_JUMP BIOS_SEG, post_entry
    .ascii "01/02/26"                  // FFF5: month, day, year
    .byte 0
    .byte 0xFC                          // FFFE: IBM AT and all that came after
    .byte 0
