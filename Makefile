# Thin: everything real is in scripts/.  BUILD= and CACHE= name other places
# for what is built and what was downloaded.

help:
	@echo 'make run         set up all that is needed, boot the 24-VCPU Linux on 8 PCPUs'
	@echo '                 (WORKLOAD=, VCPUS=, SCHED=, see scripts/run --help)'
	@echo 'make check       set up, run the tests; the last line counts them'
	@echo 'make check-full  the tests, the long ones too; writes docs/check-full-last.rst'
	@echo 'make bench       measure: ratios to stock QEMU and between machines, with goals'
	@echo '                 (BENCH="boot memory", REPEATS=3, SCALE=1; scripts/bench/run --help)'
	@echo 'make figures     run the experiments of docs/figures.rst, write its tables and plots'
	@echo '                 (FIGURES="waits vms", JOBS=2; FILE=caches: those of'
	@echo '                 docs/cache-figures.rst; scripts/figures --help)'
	@echo 'make paging-study  real programs under nested and shadow paging: tables and plot of'
	@echo '                 docs/paging-figures.rst (PARTS="times table5", ARCHITECTURE=i386)'
	@echo 'make lint        style of code, patches and scripts'
	@echo 'make setup       only build: QEMU, firmware, kernel, root file system'
	@echo 'make clean       remove what was built, keep what was downloaded'
	@echo 'make distclean   remove both'

run:
	@scripts/setup run
	@scripts/run

check:
	@scripts/setup check
	@scripts/check

check-full:
	@scripts/check-full

bench:
	@REPEATS=$(REPEATS) SCALE=$(SCALE) scripts/bench/run $(BENCH)

figures:
	@scripts/setup run
	@scripts/packages figures
	@scripts/build/bare-metal
ifeq ($(FILE),caches)
	@scripts/build/plugins
	@scripts/build/postgres
endif
	@scripts/figures $(if $(FILE),--file $(FILE)) $(FIGURES)

paging-study:
	@scripts/setup check
	@scripts/packages figures
	@scripts/build/program-guest $(or $(ARCHITECTURE),amd64)
	@scripts/paging-study $(if $(ARCHITECTURE),--architecture $(ARCHITECTURE)) $(PARTS)

lint:
	@scripts/lint

setup:
	@scripts/setup check

clean:
	@scripts/clean

distclean:
	@scripts/clean --all

.PHONY: help run check check-full bench figures paging-study lint setup clean distclean
