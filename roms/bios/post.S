/* Power-on self-test: what happens between the reset vector and INT 19h, in order.
 *
 * In:   the processor's reset state. Out: control to the boot service, interrupts on.
 * Left out: memory test, self-test of chips, a set-up screen.
 * Status ports are polled; time is only ever a limit (see timer.S).
 */
#include "common.inc"

#define SHUTDOWN_EOI_JUMP  0x05         /* CMOS 0Fh: jump through 0040:0067, after an EOI */
#define SHUTDOWN_IRET      0x09         /* ... return from a 286-style block move */
#define SHUTDOWN_JUMP      0x0A         /* ... jump without EOI */

    .global post_entry, option_rom_sum, option_rom_start
post_entry:
    cli
    cld
    mov al, 0x8F                        // shutdown status, NMI masked
    out CMOS_INDEX, al
    in al, CMOS_DATA
    mov bl, al
    PORT_OUT CMOS_INDEX, 0x8F
    PORT_OUT CMOS_DATA, 0
    mov ax, BDA_SEG
    mov ds, ax
    cmp bl, SHUTDOWN_EOI_JUMP
    je resume_with_eoi
    cmp bl, SHUTDOWN_JUMP
    je resume
    cmp bl, SHUTDOWN_IRET
    je resume_by_iret

    CHECKPOINT 0x01
    xor ax, ax
    mov ss, ax
    mov esp, POST_STACK
    call a20_enable
    call shadow_enable                  // from here on the BIOS runs in RAM and may write to itself

    CHECKPOINT 0x02
    call pic_init
    call dma_init
    call vectors_init
    call bda_init
    call timer_init
    call rtc_init

    CHECKPOINT 0x03
    call memory_size
    call e820_read
    call cache_init
    call processors_init

    CHECKPOINT 0x04
    call pci_init
    call tables_load                    // the board knows its addresses now
    call e820_build
    call mptable_build

    CHECKPOINT 0x05
    call keyboard_init
    call serial_init
    call parallel_init

    CHECKPOINT 0x06
    call video_init
    call serial_screen_init
    call banner_start
    sti

    CHECKPOINT 0x07
    call floppy_init
    call disk_init
    call cd_init
    call banner_disks
    call option_roms
    call rom_files

    CHECKPOINT 0x08
    call timer_set_from_rtc
    call shadow_protect
    PORT_OUT CMOS_INDEX, 0x0D           // NMI as the chip set has it: no longer masked
    in al, CMOS_DATA
    CHECKPOINT 0x09
    int 0x19

resume_with_eoi:
    mov al, PIC_EOI
    out PIC2_COMMAND, al
    out PIC1_COMMAND, al
resume:
    ljmp ds:[BDA_RESUME]
resume_by_iret:
    lss sp, ds:[BDA_RESUME]
    pop es
    pop ds
    popa
    iret

/* 8237 pair: cleared, with the master's channel 0 as the cascade. */
dma_init:
    PORT_OUT DMA1_CLEAR, 0
    PORT_OUT DMA2_CLEAR, 0
    PORT_OUT DMA2_MODE, 0xC0
    PORT_OUT DMA2_MASK, 0
    ret

/* BIOS data area and extended BIOS data area: all zero but what is known already. */
bda_init:
    push ds
    pop es
    xor di, di
    mov cx, 0x100 / 2
    xor ax, ax
    mov dx, ds:[BDA_WARM_BOOT]          // outlives a reset: 1234h asks for a warm boot
    rep stosw
    mov ds:[BDA_WARM_BOOT], dx
    mov ds:[BDA_EBDA], word ptr EBDA_SEG
    mov ds:[BDA_MEMORY_KB], word ptr CONVENTIONAL_KB
    mov ds:[BDA_EQUIPMENT], word ptr 0x0022   // coprocessor, 80-column colour; the rest is counted later
    mov ax, BDA_KEY_BUFFER
    mov ds:[BDA_KEY_HEAD], ax
    mov ds:[BDA_KEY_TAIL], ax
    mov ds:[BDA_KEY_START], ax
    mov ds:[BDA_KEY_END], word ptr BDA_KEY_LIMIT
    mov eax, 0x14141414
    mov ds:[BDA_LPT_TIMEOUT], eax
    mov eax, 0x01010101
    mov ds:[BDA_COM_TIMEOUT], eax
    mov ax, EBDA_SEG
    mov es, ax
    xor di, di
    xor ax, ax
    mov cx, 1024 / 2
    rep stosw
    mov es:[EBDA_SIZE_KB], byte ptr 1
    ret

/* The VGA BIOS, already copied to C000:0000, sets the first mode and takes INT 10h. */
video_init:
    mov ax, VGA_BIOS_SEG
    mov es, ax
    xor bx, bx
    mov di, offset is_display
    call pci_walk                       // BX = the display's bus, device and function
    mov ax, bx
    jmp option_rom_call

/* Expansion ROMs on the ISA bus, C8000h to DFFFFh: 55h AAh, size, init code at offset 3.
 * Out: AX = segment behind the last one. */
option_roms:
    mov ax, 0xC800
    push ax
1:  mov es, ax
    mov cx, 0x80                        // the next place to look, 2 KiB on
    cmp word ptr es:[0], 0xAA55
    jne 3f
    call option_rom_sum
    jnz 3f
    movzx cx, byte ptr es:[2]
    push ax
    push cx
    call option_rom_start
    pop cx
    pop ax
    add cx, 3                           // size in half KiB, rounded up to 2 KiB
    and cx, 0xFC
    shl cx, 5
    pop dx
    add ax, cx
    push ax
    jmp 4f
3:  add ax, cx
4:  cmp ax, 0xE000
    jb 1b
    pop ax
    ret

/* In: ES = ROM. Initialises it, and remembers how it boots, if it can. Clobbers EAX, BX. */
option_rom_start:
    xor ax, ax
    call option_rom_call
    jmp rom_bootstrap

/* In: ES = ROM. Out: ZF when its bytes add up to zero. Clobbers BX, CX, SI. */
option_rom_sum:
    push ax
    push es
    xor bl, bl
    movzx cx, byte ptr es:[2]
2:  xor si, si
3:  add bl, es:[si]
    inc si
    cmp si, 512
    jb 3b
    mov ax, es
    add ax, 512 / 16
    mov es, ax
    loop 2b
    test bl, bl
    pop es
    pop ax
    ret

/* In: ES = ROM segment, AX = bus, device and function for it. Everything but BP, SS:SP may change. */
option_rom_call:
    pushad
    push ds
    push es
    mov bp, sp
    push cs
    push offset 1f                      // where its RETF comes back
    push es
    push 3
    retf
1:  cld
    pop es
    pop ds
    popad
    ret
