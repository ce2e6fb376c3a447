/* The character generators, made from roms/font by the builder. */
    .section .rodata
    .global font_8x8, font_8x14, font_8x16
font_8x8:  .incbin "font8.bin"
font_8x14: .incbin "font14.bin"
font_8x16: .incbin "font16.bin"
