/* INT 1Ah clock and PCI BIOS, INT 14h, INT 17h, INT 11h, and what POST did to the PCI devices. */
#include "test.inc"

main:
    mov ax, 0xB101
    int 0x1A
    EXPECT nc, "PCI BIOS is there"
    EXPECT_EQUAL(edx, 0x20494350, "... and says PCI")
    EXPECT_EQUAL(bx, 0x0210, "... version 2.1")
    mov ax, 0xB102
    mov cx, 0x1237
    mov dx, 0x8086
    xor si, si
    int 0x1A
    EXPECT nc, "finds the host bridge"
    EXPECT_EQUAL(bx, 0x0000, "... at 00:00.0")
    mov ax, 0xB102
    mov si, 1
    int 0x1A
    EXPECT c, "finds no second one"
    EXPECT_EQUAL(ah, 0x86, "... and says so")
    mov ax, 0xB103
    mov ecx, 0x010180
    xor si, si
    int 0x1A
    EXPECT nc, "finds the IDE controller by class"
    EXPECT_EQUAL(bx, 0x0009, "... at 00:01.1")
    mov ax, 0xB109
    mov di, 0x40
    int 0x1A
    test ch, 0x80
    EXPECT nz, "IDE timing register opens the channel"
    mov ax, 0xB10A
    mov di, 0x20
    int 0x1A
    and cx, 0xFF03
    EXPECT_EQUAL(cx, 0xC001, "the bus master has ports")
    mov ax, 0xB109
    mov di, 0x41
    int 0x1A
    EXPECT_EQUAL(ah, 0x87, "a crooked register number fails")

    mov ax, 0xB103
    mov ecx, 0x030000
    xor si, si
    int 0x1A
    EXPECT nc, "finds the display"
    mov ax, 0xB10A
    mov di, 0x10
    int 0x1A
    and cl, 0xF0
    EXPECT_EQUAL(ecx, 0xFD000000, "... with its memory at FD000000h")
    mov ax, 0xB108
    mov di, 0x04
    int 0x1A
    and cl, 3
    EXPECT_EQUAL(cl, 3, "... and open")

    mov bx, 0x0008                      // 00:01.0
    mov ax, 0xB10A
    mov di, 0x60
    int 0x1A
    EXPECT_EQUAL(ecx, 0x0B0B0A0A, "PIRQs go to 10, 10, 11, 11")
    mov dx, 0x4D1
    in al, dx
    EXPECT_EQUAL(al, 0x0C, "... which are level triggered")
    mov ax, 0xB10B
    mov di, 0x60
    mov cl, 5
    int 0x1A
    mov ax, 0xB108
    int 0x1A
    EXPECT_EQUAL(cl, 5, "a register can be written")
    mov ax, 0xB106
    int 0x1A
    EXPECT_EQUAL(ah, 0x81, "special cycles are unsupported")
    mov bx, 0x000B                      // 00:01.3
    mov ax, 0xB10A
    mov di, 0x40
    int 0x1A
    EXPECT_EQUAL(ecx, 0x601, "power management has its ports at 600h")

/* Clock: valid BCD, ticks in step with it, a date that can be set. */
    mov ah, 0x02
    int 0x1A
    EXPECT nc, "time"
    mov al, ch
    call check_bcd
    cmp ch, 0x23
    EXPECT be, "hours"
    mov al, cl
    call check_bcd
    cmp cl, 0x59
    EXPECT be, "minutes"
    EXPECT_EQUAL(ch, 0x03, "the clock has the hour that QEMU was given")
    EXPECT_EQUAL(cl, 0x25, "... and the minute")
    mov ah, 0x04
    int 0x1A
    EXPECT_EQUAL(cx, 0x2019, "year")
    EXPECT_EQUAL(dx, 0x0730, "month and day")
    mov ah, 0x00
    int 0x1A
    shl ecx, 16
    mov cx, dx
    mov eax, ecx
    call say_hex
    cmp ecx, 223940                     // 3 h 25 min 0 s are 12300 s, 18.2065 a second: 223939.9
    EXPECT ae, "ticks since midnight"
    cmp ecx, 223940 + 18 * 30
    EXPECT be, "... not too many"
    mov ah, 0x05
    mov cx, 0x2031
    mov dx, 0x1224
    int 0x1A
    mov ah, 0x04
    int 0x1A
    EXPECT_EQUAL(cx, 0x2031, "a year can be set")
    EXPECT_EQUAL(dx, 0x1224, "... and a day")
    mov ah, 0x01
    mov cx, 0x0018
    mov dx, 0x00AE                      // two ticks before midnight
    int 0x1A
1:  hlt
    mov ah, 0x00
    int 0x1A
    test cx, cx
    jnz 1b
    EXPECT_EQUAL(al, 1, "midnight is noted")

/* Alarm: two seconds on, INT 4Ah. */
    mov word ptr ds:[0x4A * 4], offset alarm
    mov word ptr ds:[0x4A * 4 + 2], 0
    mov ah, 0x03
    mov cx, 0x1159
    mov dx, 0x5900
    int 0x1A
    EXPECT nc, "time can be set"
    mov ah, 0x06
    mov cx, 0x1200
    mov dx, 0x0000
    int 0x1A
    EXPECT nc, "alarm can be set"
    mov ecx, [0x46C]
    add ecx, 40
2:  hlt
    cmp byte ptr [alarms], 0
    jne 3f
    cmp [0x46C], ecx
    jb 2b
3:  EXPECT_EQUAL(byte ptr ds:[alarms], 1, "the alarm comes")
    mov ah, 0x07
    int 0x1A

    int 0x11
    test ax, 0x0002
    EXPECT nz, "equipment: coprocessor"
    and ax, 0x0E30
    EXPECT_EQUAL(ax, 0x0220, "... 80-column colour, one serial port")
    EXPECT_EQUAL(word ptr ds:[0x400], 0x3F8, "COM1 is at 3F8h")

    mov ax, 0x00E3                      // 9600, 8 bits, no parity
    xor dx, dx
    int 0x14
    test ah, 0x60
    EXPECT nz, "INT 14h status"
    mov ax, 0x0153
    xor dx, dx
    int 0x14
    test ah, 0x80
    EXPECT z, "INT 14h sends"
    mov ah, 0x03
    mov dx, 3
    mov al, 0x5A
    int 0x14
    EXPECT_EQUAL(ax, 0x035A, "INT 14h leaves an absent port alone")
    mov ah, 0x02
    mov dx, 2
    int 0x17
    EXPECT_EQUAL(ah, 1, "INT 17h times out on an absent port")
    jmp finish

check_bcd:
    push ax
    and al, 0x0F
    cmp al, 9
    pop ax
    EXPECT be, "BCD"
    ret

alarm:
    inc byte ptr cs:[alarms]
    iret
alarms: .byte 0
