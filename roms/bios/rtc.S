/* MC146818 clock and CMOS: INT 1Ah AH=02h-07h, IRQ 8, and reading CMOS.
 *
 * INT 1Ah  AH=02h time: CH hours, CL minutes, DH seconds (BCD), DL daylight saving; CF clock stopped
 *          AH=03h set time from CH, CL, DH, DL
 *          AH=04h date: CH century, CL year, DH month, DL day (BCD); CF clock stopped
 *          AH=05h set date from CH, CL, DH, DL
 *          AH=06h set alarm to CH, CL, DH; CF when one is set already. It calls INT 4Ah
 *          AH=07h cancel the alarm
 * INT 70h  IRQ 8: alarm, and the periodic interrupt that INT 15h AH=83h waits by
 * MC146818 sheet, "Register A" to "Register D". The clock keeps BCD and 24 hours.
 */
#include "common.inc"

#define RTC_SECONDS 0x00
#define RTC_ALARM_SECONDS 0x01
#define RTC_MINUTES 0x02
#define RTC_ALARM_MINUTES 0x03
#define RTC_HOURS   0x04
#define RTC_ALARM_HOURS 0x05
#define RTC_WEEKDAY 0x06
#define RTC_DAY     0x07
#define RTC_MONTH   0x08
#define RTC_YEAR    0x09
#define RTC_A       0x0A                /* bit 7 UIP; 26h: 32768 Hz, 1024 Hz periodic rate */
#define RTC_B       0x0B                /* SET, PIE, AIE, UIE, SQWE, DM, 24/12, DSE */
#define RTC_C       0x0C                /* interrupt flags, cleared by reading */
#define RTC_D       0x0D
#define CMOS_CENTURY 0x32

#define B_SET  0x80
#define B_PIE  0x40
#define B_AIE  0x20
#define B_24H  0x02
#define PERIOD 976                      /* microseconds at 1024 Hz */

    .global cmos_read, rtc_init, rtc_wait_stable, rtc_read_number
    .global rtc_periodic_on, rtc_periodic_off, int70
    .global int1a_02, int1a_03, int1a_04, int1a_05, int1a_06, int1a_07

/* In: AL = register. Out: AL. */
cmos_read:
    out CMOS_INDEX, al
    in al, CMOS_DATA
    ret

/* In: AL = register, AH = value. Clobbers AL. */
cmos_write:
    out CMOS_INDEX, al
    mov al, ah
    out CMOS_DATA, al
    ret

/* Rate, 24-hour BCD, no interrupts, pending flags read away. Clobbers AX. */
rtc_init:
    mov ax, 0x2600 | RTC_A
    call cmos_write
    mov ax, (B_24H << 8) | RTC_B
    call cmos_write
    mov al, RTC_C
    call cmos_read
    mov al, RTC_D
    jmp cmos_read

/* Waits until no update is in progress, at most the 2228 microseconds that one lasts.
 * Out: CF when it never ended: the clock does not run. Clobbers EAX. */
rtc_wait_stable:
    push ecx
    push dx
    mov ecx, 3 * PIT_PER_MS
    call limit_start
1:  mov al, RTC_A
    call cmos_read
    test al, 0x80
    jz 2f
    call limit_passed
    jnc 1b
2:  pop dx
    pop ecx
    ret

/* In: AL = register holding BCD. Out: EAX = the number. Clobbers nothing else. */
rtc_read_number:
    call cmos_read
    movzx eax, al
    ror ax, 4
    shr ah, 4
    xchg al, ah                         // AH tens, AL ones
    aad
    movzx eax, al
    ret

int1a_02:
    call rtc_wait_stable
    jc clock_stopped
    mov al, RTC_SECONDS
    call cmos_read
    mov CALLER_DH, al
    mov al, RTC_MINUTES
    call cmos_read
    mov CALLER_CL, al
    mov al, RTC_HOURS
    call cmos_read
    mov CALLER_CH, al
    mov al, RTC_B
    call cmos_read
    and al, 1
    mov CALLER_DL, al
    mov CALLER_AH, 0
    CALLER_CLC
    ret
clock_stopped:
    CALLER_STC
    ret

int1a_03:
    call clock_hold
    mov ah, CALLER_DH
    mov al, RTC_SECONDS
    call cmos_write
    mov ah, cl
    mov al, RTC_MINUTES
    call cmos_write
    mov ah, ch
    mov al, RTC_HOURS
    call cmos_write
    mov al, RTC_B
    call cmos_read
    and al, 0x7E & ~B_PIE
    and dl, 1
    or al, dl
    mov ah, al
    mov al, RTC_B
    call cmos_write
    CALLER_CLC
    ret

int1a_04:
    call rtc_wait_stable
    jc clock_stopped
    mov al, RTC_YEAR
    call cmos_read
    mov CALLER_CL, al
    mov al, RTC_MONTH
    call cmos_read
    mov CALLER_DH, al
    mov al, RTC_DAY
    call cmos_read
    mov CALLER_DL, al
    mov al, CMOS_CENTURY
    call cmos_read
    mov CALLER_CH, al
    mov CALLER_AH, 0
    CALLER_CLC
    ret

int1a_05:
    call clock_hold
    mov ah, cl
    mov al, RTC_YEAR
    call cmos_write
    mov ah, dh
    mov al, RTC_MONTH
    call cmos_write
    mov ah, CALLER_DL
    mov al, RTC_DAY
    call cmos_write
    mov ah, ch
    mov al, CMOS_CENTURY
    call cmos_write
    mov al, RTC_B
    call cmos_read
    and al, 0x7F
    mov ah, al
    mov al, RTC_B
    call cmos_write
    CALLER_CLC
    ret

/* Sets B_SET, so that no update disturbs what is written. Clobbers EAX. */
clock_hold:
    call rtc_wait_stable
    mov al, RTC_B
    call cmos_read
    or al, B_SET
    mov ah, al
    mov al, RTC_B
    jmp cmos_write

int1a_06:
    mov al, RTC_B
    call cmos_read
    test al, B_AIE
    jnz clock_stopped
    mov ah, CALLER_DH
    mov al, RTC_ALARM_SECONDS
    call cmos_write
    mov ah, cl
    mov al, RTC_ALARM_MINUTES
    call cmos_write
    mov ah, ch
    mov al, RTC_ALARM_HOURS
    call cmos_write
    mov ah, B_AIE
    call rtc_b_set
    CALLER_CLC
    ret

int1a_07:
    mov ah, B_AIE
    call rtc_b_clear
    CALLER_CLC
    ret

/* In: AH = bits of register B. Clobbers AX. IRQ 8 is opened on the way. */
rtc_periodic_on:
    mov ah, B_PIE
rtc_b_set:
    in al, PIC2_DATA
    and al, 0xFE
    out PIC2_DATA, al
    mov al, RTC_B
    call cmos_read
    or ah, al
    mov al, RTC_B
    jmp cmos_write
rtc_periodic_off:
    mov ah, B_PIE
rtc_b_clear:
    mov al, RTC_B
    call cmos_read
    not ah
    and ah, al
    mov al, RTC_B
    jmp cmos_write

int70:
    push eax
    push bx
    push ds
    push es
    mov ax, BDA_SEG
    mov ds, ax
    mov al, RTC_B
    call cmos_read
    mov bl, al
    mov al, RTC_C
    call cmos_read
    and bl, al                          // what happened and is enabled
    test bl, B_PIE
    jz 2f
    sub dword ptr ds:[BDA_WAIT_TIME], PERIOD
    ja 2f
    push bx
    mov ah, B_PIE
    call rtc_b_clear
    les bx, ds:[BDA_WAIT_FLAG]
    or byte ptr es:[bx], 0x80
    mov byte ptr ds:[BDA_WAIT_ACTIVE], 0
    pop bx
2:  call irq_finish_slave
    test bl, B_AIE
    jz 3f
    sti
    int 0x4A
    cli
3:  pop es
    pop ds
    pop bx
    pop eax
    iret
