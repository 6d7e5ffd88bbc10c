/*
 * Inputs of programs, the same each time; and the programs that Debian does not have.
 *
 *   data text WORDS          words, most of them of a small vocabulary
 *   data source FUNCTIONS    a C file
 *   data video FRAMES        frames of 352 x 288 in YUV 4:2:0, of which a part moves
 *   data family SEQUENCES    an alignment of proteins in Stockholm format
 *   data proteins SEQUENCES  proteins in FASTA format, some of them of that family
 *   data xml ROWS            a table in XML
 *   data network NODES       a minimum-cost flow problem in DIMACS format
 *   data sql ROWS            a database: made, changed and asked
 *   data chase MEGABYTES STEPS     follows pointers through memory, in random order
 *   data solve N ITERATIONS        conjugate gradients: the Laplacian of N x N x N points
 *   data phases ROUNDS             by turns, many page faults and many TLB misses
 *   data mark NUMBER ADDRESS       writes NUMBER to the mark register there
 *
 * Of SPEC, chase stands for mcf, solve for cactusADM.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t state = 88172645463325252u;

/* Marsaglia's xorshift generator of 64 bits */
static uint64_t draw(uint64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

static void word(uint64_t number)
{
    do {
        printf("%c%c", "bdfgklmnprstvz"[number % 14], "aeiou"[number / 14 % 5]);
        number /= 70;
    } while (number);
}

static void text(long words)
{
    for (long i = 0; i < words; i++) {
        word(draw(8) ? draw(300) : draw(60000));
        putchar(i % 12 == 11 ? '\n' : ' ');
    }
}

static void source(long functions)
{
    printf("extern int table[4096];\nextern double values[512];\n");
    for (long f = 0; f < functions; f++) {
        printf("int f%ld(int a, int b, int c)\n{\n    int x = a, y = b, z = c;\n"
               "    double d = a;\n", f);
        for (int s = 0; s < 12; s++) {
            switch (draw(6)) {
            case 0:
                printf("    for (int i = 0; i < (b & %lu); i++) {\n"
                       "        table[(x + i * %lu) & 4095] += y ^ i;\n    }\n",
                       (long)draw(60) + 3ul, (long)draw(9) + 1ul);
                break;
            case 1:
                printf("    if (x > %lu) {\n        y = z * %lu + x;\n    } else {\n"
                       "        z -= y >> %lu;\n    }\n",
                       (long)draw(1000) + 0ul, (long)draw(99) + 1ul, (long)draw(7) + 1ul);
                break;
            case 2:
                printf("    d = d * %lu.%lu + values[(unsigned)z %% 512u];\n",
                       (long)draw(9) + 1ul, (long)draw(99) + 0ul);
                break;
            case 3:
                if (f) {
                    printf("    x += f%lu(y, z, %lu);\n", (long)draw(f) + 0ul,
                           (long)draw(50) + 0ul);
                }
                break;
            case 4:
                printf("    switch (y & 7) {\n    case 1: x ^= z; break;\n"
                       "    case 2: z += %lu; break;\n    case 5: y = x / (z | 1); break;\n"
                       "    default: x++;\n    }\n", (long)draw(500) + 0ul);
                break;
            default:
                printf("    x = (x << 3) ^ (y * %lu) ^ table[z & 4095];\n",
                       (long)draw(5000) + 0ul);
            }
        }
        printf("    values[x & 511] = d;\n    return x + y + z;\n}\n");
    }
}

static void video(long frames)
{
    enum { W = 352, H = 288 };

    for (long f = 0; f < frames; f++) {
        for (int plane = 0; plane < 3; plane++) {
            int w = plane ? W / 2 : W, h = plane ? H / 2 : H;

            for (int y = 0; y < h; y++) {
                for (int x = 0; x < w; x++) {
                    int moves = x > w / 4 && x < 3 * w / 4;
                    int at = moves ? x + 3 * (int)f : x;

                    putchar((((at / 8) ^ (y / 8)) * 13 + at + y + (int)draw(4)) & 255);
                }
            }
        }
    }
}

#define ACIDS "ACDEFGHIKLMNPQRSTVWY"
#define COLUMNS 120

static char consensus(int column)
{
    return ACIDS[(column * 7 + column / 3) % 20];
}

static void member(int alike)
{
    for (int c = 0; c < COLUMNS; c++) {
        putchar((int)draw(100) < alike ? consensus(c) : ACIDS[draw(20)]);
    }
}

static void family(long sequences)
{
    printf("# STOCKHOLM 1.0\n\n");
    for (long s = 0; s < sequences; s++) {
        printf("s%-9ld ", s);
        member(75);
        putchar('\n');
    }
    printf("//\n");
}

static void proteins(long sequences)
{
    for (long s = 0; s < sequences; s++) {
        long before = 50 + draw(300), after = 50 + draw(300);

        printf(">p%ld\n", s);
        while (before--) {
            putchar(ACIDS[draw(20)]);
        }
        member(draw(10) ? 5 : 60);
        while (after--) {
            putchar(ACIDS[draw(20)]);
        }
        putchar('\n');
    }
}

static void xml(long rows)
{
    printf("<?xml version=\"1.0\"?>\n<table>\n");
    for (long r = 0; r < rows; r++) {
        printf("<row id=\"%ld\"><name>", r);
        word(draw(60000));
        printf("</name><group>%ld</group><value>%ld</value></row>\n", (long)draw(40),
               (long)draw(100000));
    }
    printf("</table>\n");
}

static void network(long nodes)
{
    printf("p min %ld %ld\nn 1 %ld\nn %ld %ld\n", nodes, 6 * nodes, 5 * nodes / 4, nodes,
           -(5 * nodes / 4));
    for (long n = 0; n < nodes; n++) {
        /* A way that takes everything, and shorter ones that do not */
        printf("a %ld %ld 0 %ld 1000\n", n + 1, n + 1 < nodes ? n + 2 : 1, 2 * nodes);
        for (int i = 0; i < 5; i++) {
            long to = (n + 2 + (long)draw(nodes - 2)) % nodes;

            printf("a %ld %ld 0 %ld %ld\n", n + 1, to + 1, 1 + (long)draw(50),
                   1 + (long)draw(900));
        }
    }
}

static void sql(long rows)
{
    printf("pragma journal_mode=off;\ncreate table t(a integer primary key, b, c, d text);\n"
           "create index i on t(b);\nbegin;\n");
    for (long r = 0; r < rows; r++) {
        printf("insert into t values(%ld, %ld, %ld, '", r, (long)draw(rows), (long)draw(97));
        word(draw(60000));
        printf("');\n");
    }
    printf("commit;\nselect c, count(*), avg(b) from t group by c order by 2;\n"
           "update t set b = b * 7 %% %ld where a %% 3 = 0;\n"
           "select count(*) from t x join t y on x.b = y.a where y.c < 20;\n"
           "select d, count(*) n from t group by d having n > 9 order by d;\n"
           "delete from t where b %% 5 = 1;\nselect sum(a), sum(b) from t;\n", rows);
}

/* A random cycle through lines of memory */
static void chase(long megabytes, long steps)
{
    enum { LINE = 64 };
    size_t lines = megabytes * (1 << 20) / LINE;
    uint32_t *next = malloc(lines * LINE), at = 0;

    for (size_t i = 0; i < lines; i++) {
        next[i * LINE / 4] = i;
    }
    for (size_t i = lines - 1; i > 0; i--) {            /* Sattolo */
        size_t j = draw(i);
        uint32_t t = next[i * LINE / 4];

        next[i * LINE / 4] = next[j * LINE / 4];
        next[j * LINE / 4] = t;
    }
    while (steps--) {
        at = next[(size_t)at * LINE / 4];
    }
    printf("chase %u\n", at);
    free(next);
}

static void solve(long n, long iterations)
{
    long points = n * n * n, entries = 0;
    double *x = calloc(points, sizeof(double)), *r = malloc(points * sizeof(double));
    double *p = malloc(points * sizeof(double)), *q = malloc(points * sizeof(double));
    double *value = malloc(7 * points * sizeof(double));
    int32_t *column = malloc(7 * points * sizeof(int32_t));
    int32_t *row = malloc((points + 1) * sizeof(int32_t));
    const long step[] = { -n * n, -n, -1, 0, 1, n, n * n };
    double old = 0;

    for (long i = 0; i < points; i++) {
        row[i] = entries;
        for (int s = 0; s < 7; s++) {
            long j = i + step[s];

            if (j >= 0 && j < points) {
                column[entries] = j;
                value[entries++] = s == 3 ? 6.01 : -1;
            }
        }
        r[i] = p[i] = (double)draw(1000) / 1000;
        old += r[i] * r[i];
    }
    row[points] = entries;
    while (iterations--) {
        double pq = 0, now = 0, alpha;

        for (long i = 0; i < points; i++) {
            double sum = 0;

            for (int k = row[i]; k < row[i + 1]; k++) {
                sum += value[k] * p[column[k]];
            }
            q[i] = sum;
            pq += p[i] * sum;
        }
        alpha = old / pq;
        for (long i = 0; i < points; i++) {
            x[i] += alpha * p[i];
            r[i] -= alpha * q[i];
            now += r[i] * r[i];
        }
        for (long i = 0; i < points; i++) {
            p[i] = r[i] + now / old * p[i];
        }
        old = now;
    }
    printf("solve %.6e\n", old);
}

/* Pages that are new each time; then the same pages again and again, at random */
static void phases(long rounds)
{
    enum { SIZE = 8 << 20, PAGE = 4096, LARGE = 48 << 20 };
    char *same = malloc(LARGE);
    uint64_t sum = 0;

    memset(same, 1, LARGE);
    while (rounds--) {
        for (int i = 0; i < 8; i++) {
            char *fresh = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                               -1, 0);

            for (long at = 0; at < SIZE; at += PAGE) {
                fresh[at] = at;
            }
            munmap(fresh, SIZE);
        }
        for (long i = 0; i < 1500000; i++) {
            sum += same[draw(LARGE)];
        }
    }
    printf("phases %llu\n", (unsigned long long)sum);
}

static int mark(uint64_t number, uint64_t address)
{
    int file = open("/dev/mem", O_RDWR | O_SYNC);
    volatile uint32_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file,
                                   address & -4096ull);

    if (page == MAP_FAILED) {
        perror("mark");
        return 1;
    }
    page[(address & 4095) / 4] = number;
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*one)(long n);
        void (*two)(long n, long m);
    } all[] = {
        { "text", text }, { "source", source }, { "video", video }, { "family", family },
        { "proteins", proteins }, { "xml", xml }, { "network", network }, { "sql", sql },
        { "phases", phases }, { "chase", NULL, chase }, { "solve", NULL, solve },
    };

    if (argc == 4 && !strcmp(argv[1], "mark")) {
        return mark(strtoull(argv[2], NULL, 0), strtoull(argv[3], NULL, 0));
    }
    for (unsigned i = 0; argc > 2 && i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(argv[1], all[i].name)) {
            continue;
        }
        if (all[i].one && argc == 3) {
            all[i].one(atol(argv[2]));
            return 0;
        }
        if (all[i].two && argc == 4) {
            all[i].two(atol(argv[2]), atol(argv[3]));
            return 0;
        }
    }
    fprintf(stderr, "usage: see guests/programs/data.c\n");
    return 2;
}
