"""What firmware and kernel must measure, computed from the files that a guest is started with.

Not computed: the firmware's PEI volume, which is measured when it has run, and is then no longer as
it lies in its file; and the boot options (PCR 1). A policy can only take these from a machine that
was started.

Sources: TCG PC Client Platform Firmware Profile 1.06, section 10 (which event's digest is over
what); Microsoft, Windows Authenticode Portable Executable Signature Format, 1.0; UEFI PI 1.7,
volume 3 (firmware volumes); Linux, Documentation/arch/x86/boot.rst (the setup header).
"""

import hashlib
import lzma
import struct
import uuid

from tests.guest.qemu import MEMORY

SEPARATOR = hashlib.sha256(bytes(4)).digest()
CALLING = hashlib.sha256(b"Calling EFI Application from Boot Option").digest()

# Offsets in a PE32+ image: of the PE header, and from there of what Authenticode leaves out.
_PE_OFFSET = 0x3C
_CHECKSUM, _CERTIFICATE_ENTRY = 24 + 64, 24 + 144

# Offsets in the kernel's setup header.
_LOADER, _FLAGS, _IMAGE, _HEAP_END = 0x210, 0x211, 0x218, 0x224
_COMMAND_LINE, _IMAGE_LIMIT, _MORE_FLAGS = 0x228, 0x22C, 0x236
_ABOVE_4G = 1 << 1

_LZMA_SECTION = uuid.UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf").bytes_le
_SECTION_HEADER = 4
_VOLUME_SIGNATURE = b"_FVH"
_VOLUME_SIZE, _SIGNATURE_AT = 32, 40


def extended(*digests: bytes) -> bytes:
    """Return what a register holds after `digests` were extended into it, and nothing before."""
    value = bytes(32)
    for digest in digests:
        value = hashlib.sha256(value + digest).digest()
    return value


def kernel_digests(kernel: bytes, image_size: int) -> list[bytes]:
    """Return the digests that PCR 4 may be extended with for this kernel.

    QEMU 7.2 hands over a kernel whose setup header it has filled in, as a boot loader would; later
    ones have the file as it is too, for firmware that asks for it.
    """
    return [authenticode(kernel), authenticode(_filled_in(kernel, image_size))]


def authenticode(image: bytes) -> bytes:
    """Return the Authenticode SHA-256 of a PE32+ image whose sections fill the file."""
    (pe,) = struct.unpack_from("<I", image, _PE_OFFSET)
    checksum, entry = pe + _CHECKSUM, pe + _CERTIFICATE_ENTRY
    at, size = struct.unpack_from("<II", image, entry)
    end = at if size else len(image)
    hashed = image[:checksum] + image[checksum + 4 : entry] + image[entry + 8 : end]
    return hashlib.sha256(hashed).digest()


def _filled_in(kernel: bytes, image_size: int) -> bytes:
    """Return the kernel as QEMU 7.2 passes it on (hw/i386/x86.c there)."""
    setup_at, command_line_at, acpi_size = 0x10000, 0x20000, 0x28000
    filled = bytearray(kernel)
    filled[_LOADER] = 0xB0  # QEMU
    filled[_FLAGS] |= 0x80  # the heap can be used
    (limit,) = struct.unpack_from("<I", kernel, _IMAGE_LIMIT)
    if kernel[_MORE_FLAGS] & _ABOVE_4G:
        limit = 0xFFFFFFFF
    place = (min(limit, MEMORY - acpi_size - 1) - image_size) & ~0xFFF
    struct.pack_into("<II", filled, _IMAGE, place, image_size)
    struct.pack_into("<H", filled, _HEAP_END, command_line_at - setup_at - 0x200)
    struct.pack_into("<I", filled, _COMMAND_LINE, command_line_at)
    return bytes(filled)


def started(command_line: str, image_digest: bytes) -> bytes:
    """Return what PCR 9 holds after the EFI stub has measured command line and image."""
    # The command line as the stub gets it: UTF-16, ended by a zero, with what OVMF appends.
    options = f"{command_line} initrd=initrd\0".encode("utf-16-le")
    return extended(hashlib.sha256(options).digest(), image_digest)


def volume_digests(firmware: bytes) -> list[bytes]:
    """Return the digests of the firmware volumes that lie compressed in OVMF's code file."""
    at = firmware.index(_LZMA_SECTION)
    (offset,) = struct.unpack_from("<H", firmware, at + len(_LZMA_SECTION))
    packed = firmware[at - _SECTION_HEADER + offset :]
    content = lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(packed)
    digests, found = [], content.find(_VOLUME_SIGNATURE)
    while found != -1:
        begin = found - _SIGNATURE_AT
        (size,) = struct.unpack_from("<Q", content, begin + _VOLUME_SIZE)
        # Code that handles volumes holds the same four letters, and no size after them.
        if size <= len(content) - begin:
            digests.append(hashlib.sha256(content[begin : begin + size]).digest())
        found = content.find(_VOLUME_SIGNATURE, found + 1)
    return digests
