/*
 * What embedded benchmarks are made of: a linked list that is searched and
 * reversed, a small matrix product, a state machine that reads numbers out of
 * text, and a CRC over the results of the other three.
 *   coreloop.rounds=2000   coreloop.copies=1 (0: one a processor)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "workload.h"

enum { ITEMS = 64, SIDE = 8 };

typedef struct Item {
    struct Item *next;
    uint16_t key;
} Item;

/* CRC-16/ARC, bit by bit (polynomial 0x8005, reflected) */
static uint16_t crc(uint16_t sum, uint32_t value)
{
    for (int bit = 0; bit < 32; bit++, value >>= 1) {
        sum = (sum >> 1) ^ (((sum ^ value) & 1) ? 0xa001 : 0);
    }
    return sum;
}

/* How far from the head the item with the key is; then turn the list round. */
static uint32_t list(Item **head, uint16_t key)
{
    Item *item = *head, *turned = NULL, *next;
    uint32_t steps = 0;

    while (item && item->key != key) {
        item = item->next;
        steps++;
    }
    for (item = *head; item; item = next) {
        next = item->next;
        item->next = turned;
        turned = item;
    }
    *head = turned;
    return steps;
}

/* Sum of the elements of A x B, A[i][j] = i + j + round, B[i][j] = i x j */
static uint32_t matrix(uint32_t round)
{
    static uint32_t a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];
    uint32_t sum = 0;

    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) {
            a[i][j] = i + j + round;
            b[i][j] = i * j;
        }
    }
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) {
            c[i][j] = 0;
            for (int k = 0; k < SIDE; k++) {
                c[i][j] += a[i][k] * b[k][j];
            }
            sum += c[i][j];
        }
    }
    return sum;
}

/* Sum of the integers plus 1000 for each number with a fraction */
static uint32_t numbers(const char *text)
{
    enum { BETWEEN, INTEGER, FRACTION } state = BETWEEN;
    uint32_t sum = 0, value = 0;

    do {
        bool digit = *text >= '0' && *text <= '9';

        switch (state) {
        case BETWEEN:
            if (digit) {
                value = *text - '0';
                state = INTEGER;
            }
            break;
        case INTEGER:
            if (digit) {
                value = value * 10 + *text - '0';
            } else if (*text == '.') {
                sum += 1000;
                state = FRACTION;
            } else {
                sum += value;
                state = BETWEEN;
            }
            break;
        case FRACTION:
            if (!digit) {
                state = BETWEEN;
            }
            break;
        }
    } while (*text++);
    return sum;
}

static long rounds;

static void work(char *result, size_t size)
{
    static Item items[ITEMS];
    Item *head = items;
    uint16_t sum = 0;
    char text[64];

    for (int i = 0; i < ITEMS; i++) {
        items[i].key = i * 37 % ITEMS;
        items[i].next = i + 1 < ITEMS ? &items[i + 1] : NULL;
    }
    for (long round = 0; round < rounds; round++) {
        snprintf(text, sizeof(text), "%ld, 3.14;%ld x 42 7.%ld", round,
                 round % 97, round % 10);
        sum = crc(sum, list(&head, round % ITEMS));
        sum = crc(sum, matrix(round));
        sum = crc(sum, numbers(text));
    }
    snprintf(result, size, "rounds=%ld crc=%04x", rounds, sum);
}

int main(void)
{
    workload_name = "coreloop";
    rounds = parameter("rounds", 2000, 1, 1L << 31);
    return run_copies(work);
}
