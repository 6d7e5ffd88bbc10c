# RISC-V with machine virt and no other, for the long tests (scripts/build/qemu
# --others); QEMU's own configs/devices has such a file for Arm.
# SPDX-License-Identifier: GPL-2.0-or-later

CONFIG_RISCV_VIRT=y
