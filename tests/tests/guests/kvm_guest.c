// A virtual machine of one page, by way of /dev/kvm: real-mode code adds two digits, writes the sum to a port, counts down in a
// loop, and halts.

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define PAGE 0x1000

static const uint8_t code[] = {
    0xba, 0xf8, 0x03,       // mov dx, 3f8h
    0x00, 0xd8,             // add al, bl
    0x04, '0',              // add al, '0'
    0xee,                   // out dx, al
    0xb9, 0x10, 0x27,       // mov cx, 10000
    0xe2, 0xfe,             // loop $
    0xf4,                   // hlt
};

static int failed(const char *what)
{
    perror(what);
    return 1;
}

int main(void)
{
    int kvm = open("/dev/kvm", O_RDWR);
    if (kvm < 0)
        return failed("/dev/kvm");
    int machine = ioctl(kvm, KVM_CREATE_VM, 0UL);
    if (machine < 0)
        return failed("KVM_CREATE_VM");
    void *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memcpy(memory, code, sizeof code);
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = PAGE, .memory_size = PAGE, .userspace_addr = (uintptr_t)memory};
    if (ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return failed("KVM_SET_USER_MEMORY_REGION");
    int processor = ioctl(machine, KVM_CREATE_VCPU, 0UL);
    if (processor < 0)
        return failed("KVM_CREATE_VCPU");
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct kvm_run *run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, processor, 0);
    struct kvm_sregs special;
    ioctl(processor, KVM_GET_SREGS, &special);
    special.cs.base = 0;
    special.cs.selector = 0;
    ioctl(processor, KVM_SET_SREGS, &special);
    struct kvm_regs general = {.rip = PAGE, .rax = 2, .rbx = 3, .rflags = 2};
    ioctl(processor, KVM_SET_REGS, &general);
    for (;;) {
        if (ioctl(processor, KVM_RUN, 0) < 0)
            return failed("KVM_RUN");
        if (run->exit_reason == KVM_EXIT_IO) {
            printf("the guest says %c\n", *((char *)run + run->io.data_offset));
        } else if (run->exit_reason == KVM_EXIT_HLT) {
            puts("the guest halts");
            return 0;
        } else {
            printf("exit reason %u\n", run->exit_reason);
            return 1;
        }
    }
}
