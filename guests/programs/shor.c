/*
 * Shor's algorithm with libquantum: the period of X^a mod N is measured.
 *
 *     shor N X
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <stdlib.h>
#include <quantum.h>

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 15, x = argc > 2 ? atoi(argv[2]) : 7;
    int bits = quantum_getwidth(n), width = 2 * bits;
    quantum_reg reg;

    srand(1);
    reg = quantum_new_qureg(0, width);
    for (int i = 0; i < width; i++) {
        quantum_hadamard(i, &reg);
    }
    quantum_addscratch(3 * bits + 2, &reg);
    quantum_exp_mod_n(n, x, width, bits, &reg);
    for (int i = 0; i < 3 * bits + 2; i++) {
        quantum_bmeasure(0, &reg);
    }
    quantum_qft(width, &reg);
    for (int i = 0; i < width / 2; i++) {
        quantum_cnot(i, width - i - 1, &reg);
        quantum_cnot(width - i - 1, i, &reg);
        quantum_cnot(i, width - i - 1, &reg);
    }
    printf("%d of %d measured, %d states\n", (int)quantum_measure(reg), 1 << width, reg.size);
    return 0;
}
