# The boot sector. The BIOS loads these 512 bytes to 0x7C00 and jumps there in real mode with the boot
# drive's number in DL (BIOS Boot Specification, "IPL"). All they do is read the 31 sectors behind them,
# the loader, and go on there.

.include "defs.inc"

.section .bootsector, "ax"
.code16
.global _start
_start:
        cli
        .byte 0xEA                      # JMP 0000:start16 : some BIOSes start us at 07C0:0000
        .word start16, 0
start16:
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7C00              # the stack grows down from below us
        sti
        cld
        mov     [drive], dl

        # Does the BIOS have the Enhanced Disk Drive functions for this drive?
        mov     byte ptr [method], 2
        test    byte ptr [options], 1
        jnz     geometry
        mov     ah, 0x41
        mov     bx, 0x55AA
        int     0x13
        jc      geometry
        cmp     bx, 0xAA55
        jne     geometry
        test    cl, 1                   # bit 0: functions 42h to 44h, with the packet
        jz      geometry
        mov     byte ptr [method], 1
        jmp     load

geometry:                               # CHS: ask how many sectors and heads a cylinder has
        mov     ah, 0x08
        mov     dl, [drive]
        xor     di, di
        int     0x13
        jc      disk_error
        and     cx, 0x3F
        mov     [sectors_per_track], cx
        movzx   dx, dh
        inc     dx
        mov     [heads], dx
        xor     ax, ax
        mov     es, ax

load:
        mov     eax, 1
        mov     cx, BOOT_SECTORS - 1
        mov     bx, 0x07E0
        call    read_sectors
        jmp     loader

# Reads CX sectors from LBA EAX to segment BX. Changes EAX, BX, CX.
.global read_sectors
read_sectors:
        test    cx, cx
        jz      8f
        push    bp
        mov     bp, cx
        cmp     bp, 64                  # 32 KiB at a time never crosses a 64 KiB boundary here
        jbe     1f
        mov     bp, 64
1:      cmp     byte ptr [method], 1
        jne     3f

        # EDD: "Device Address Packet"
        mov     [packet_count], bp
        mov     [packet_segment], bx
        mov     [packet_lba], eax
        push    eax
        mov     si, offset packet
        mov     ah, 0x42
        mov     dl, [drive]
        int     0x13
        pop     eax
        jc      disk_error
        jmp     5f

        # CHS: cylinder = LBA / (heads * spt), head = LBA / spt % heads, sector = LBA % spt + 1
3:      push    eax
        push    bx
        push    cx
        mov     edx, eax
        shr     edx, 16                 # DX:AX = LBA
        div     word ptr [sectors_per_track]
        mov     si, [sectors_per_track]
        sub     si, dx                  # how many are left on this track
        cmp     bp, si
        jbe     4f
        mov     bp, si
4:      mov     cx, dx
        inc     cx                      # CL 5:0 = sector, from 1
        xor     dx, dx
        div     word ptr [heads]        # AX = cylinder, DX = head
        mov     dh, dl
        mov     ch, al                  # cylinder 7:0
        shl     ah, 6
        or      cl, ah                  # cylinder 9:8 in CL 7:6
        mov     dl, [drive]
        mov     es, bx
        xor     bx, bx
        mov     ax, bp
        mov     ah, 0x02
        int     0x13
        mov     bx, 0
        mov     es, bx
        pop     cx
        pop     bx
        pop     eax
        jc      disk_error

5:      movzx   esi, bp
        add     eax, esi
        sub     cx, bp
        shl     bp, 5                   # a sector is 20h paragraphs
        add     bx, bp
        pop     bp
        jmp     read_sectors
8:      ret

disk_error:
        mov     si, offset disk_message
.global fatal
fatal:                                  # says the line at SI and stops for good
        call    say
9:      cli
        hlt
        jmp     9b

# Teletype output of the zero-terminated text at SI (INT 10h, function 0Eh).
.global say
say:
        lodsb
        test    al, al
        jz      1f
        mov     ah, 0x0E
        mov     bx, 7
        int     0x10
        jmp     say
1:      ret

disk_message: .asciz "boot: disk error\r\n"

.balign 4
packet:           .byte 16, 0
packet_count:     .word 0
packet_offset:    .word 0
packet_segment:   .word 0
packet_lba:       .long 0, 0
sectors_per_track: .word 0
heads:            .word 0
.global drive, method
drive:            .byte 0
method:           .byte 0

.org 0x1A8                              # BOOT_PARAMETERS of layout.rs, filled in by the image builder
.global kernel_lba, kernel_sectors
kernel_lba:       .long 0
kernel_sectors:   .word 0
options:          .byte 0

.org 0x1FE
        .word   0xAA55
