"""What virtual machines are started with: an initramfs, and for those that have a kernel in memory the start of one."""

from vm_pool.providers.vm_guest_code import kernel_stub


def kernel(setup_sectors: int, size: int = 1 << 20) -> bytes:
    made = bytearray(size)
    made[0x1F1] = setup_sectors
    return bytes(made)


def test_a_stub_is_longer_than_what_sets_a_kernel_up_and_much_shorter_than_the_kernel():
    for sectors, set_up in ((39, 40 * 512), (0, 5 * 512), (255, 256 * 512)):
        assert max(set_up, 8192) < len(kernel_stub(kernel(sectors))) < set_up + 10_000


def test_a_stub_is_the_beginning_of_its_kernel():
    whole = kernel(20)
    assert whole.startswith(kernel_stub(whole))
