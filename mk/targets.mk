# What a person types. `make help` prints the lines that begin with two number signs.

RUN_TESTS = scripts/run-tests --build $(BUILD) --document $(DOCUMENT) $(addprefix --unit ,$(UNIT_TESTS)) \
            $(addprefix --fuzzer ,$(FUZZERS))
CHOICE    = $(if $(ONLY),--only "$(ONLY)") $(if $(KINDS),--kinds $(KINDS)) $(if $(LIMIT),--system-limit $(LIMIT))
DOCUMENT  = $(BUILD)/tools/document
ASAN      = BUILD=$(BUILD)-asan SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined" OPTIMISE=-O1
# As many jobs as there are cores, unless -j was given.
AGAIN     = $(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
SOURCES   = $(sort $(filter-out build%,$(wildcard */*.c */*/*.c */*/*/*.c */*/*/*/*.c */*/*/*/*/*.c)))
HEADERS   = $(sort $(filter-out build%,$(wildcard */*.h */*/*.h */*/*/*.h */*/*/*/*.h */*/*/*/*/*.h)))

# What was fetched, seen from the programs in $(BUILD) as from those below PREFIX.
FETCHED   = country.mmdb regexes.yaml uPlot.js uPlot.css
DATA_HERE = $(addprefix $(BUILD)/share/millrace/,$(FETCHED) $(addsuffix .licence,$(FETCHED)))

.PHONY: all have-packages deps data run test unit system test-peers asan lint fuzz bench bench-http bench-http-slow check docs install clean help crash-deliver crash-packets outage-deliver bench-live soak try-kernel deb try-packages try-units try-arm64 crash-upgrade
.PHONY: built-run built-test built-unit built-system built-peers built-asan built-fuzz built-lint built-try-kernel built-unit-programs

all: have-packages $(PROGRAMS) $(DATA_HERE) ## build everything that is installed, under $(BUILD)

# Before anything is compiled, or a missing header would be the message.
have-packages:
	@scripts/install-packages --check build

deps: ## install what building, running and testing need
	@scripts/install-packages build run test data xdp

# Links, so that what is fetched or replaced later counts at once.
$(DATA_HERE):
	@mkdir -p $(@D)
	@ln -sfn $(abspath $(DATA))/$(@F) $@

data: ## fetch the country database, the user-agent rules and the charts of the live page into $(DATA), when they are not there
	@scripts/install-packages data
	@scripts/fetch-data $(DATA)

# Packages first, then make anew: what is included above may have been written with packages missing.
run: ## install what is missing, build, start the whole pipeline; ARGS="..." are passed on
	@scripts/install-packages build run data
	@scripts/fetch-data $(DATA)
	@$(AGAIN) built-run
built-run: all
	@exec $(BUILD)/bin/millrace run $(ARGS)

test: ## install what the tests need, build, run all of them; ONLY=text, KINDS=unit,model,fuzz,rules,compile,system
	@scripts/install-packages build run test data xdp
	@scripts/fetch-data $(DATA)
	@scripts/fetch-data --tests $(DATA)/tests
	@scripts/fetch-prometheus $(DATA)/tests/prometheus
	@$(AGAIN) built-test
built-test: all $(UNIT_TESTS) $(TEST_PROGRAMS) $(FUZZERS) $(DOCUMENT)
	@$(RUN_TESTS) $(CHOICE)

check: test ## the same as test

unit: ## the unit tests alone
	@scripts/install-packages build run test data xdp
	@scripts/fetch-data $(DATA)
	@scripts/fetch-data --tests $(DATA)/tests
	@$(AGAIN) built-unit
built-unit: $(UNIT_TESTS) $(TEST_PROGRAMS) $(DATA_HERE)
	@$(RUN_TESTS) --kinds unit $(CHOICE)

system: ## the system tests alone
	@scripts/install-packages build run test data xdp
	@scripts/fetch-data $(DATA)
	@scripts/fetch-data --tests $(DATA)/tests
	@scripts/fetch-prometheus $(DATA)/tests/prometheus
	@$(AGAIN) built-system
built-system: all $(TEST_PROGRAMS)
	@$(RUN_TESTS) --kinds system $(CHOICE)

test-peers: ## tests against moto, Azurite, Apache Kafka and the library of Standard Webhooks, fetched into $(BUILD)/peers; each is skipped where its registry is not reached
	@scripts/install-packages build run test data xdp
	@scripts/fetch-data $(DATA)
	@tests/peers/install $(BUILD)/peers
	@$(AGAIN) built-peers
built-peers: all $(TEST_PROGRAMS)
	@$(RUN_TESTS) --kinds peers $(CHOICE)

deb: ## the Debian packages of the last commit, into $(BUILD)/deb; ARGS=--twice builds them twice and compares
	@scripts/install-packages build xdp deb
	@scripts/make-deb $(ARGS) $(BUILD)/deb

try-packages: ## as root: install, upgrade while it runs, remove and purge the packages in a fresh chroot
	@scripts/install-packages build xdp deb
	@scripts/try-packages

try-units: ## as root: the units under a real systemd, in namespaces: restarts, a reload and an upgrade under HTTP load
	@scripts/install-packages build xdp deb
	@$(AGAIN) all
	@BUILD=$(BUILD) scripts/try-units

try-arm64: ## build everything for arm64, run the unit tests by qemu's user-mode emulation, then the main job on Debian's kernel KERNEL (6.1) for arm64
	@scripts/install-packages build test data arm64 kernel
	@scripts/fetch-data $(DATA)
	@scripts/try-arm64 $(BUILD)-arm64
	@scripts/try-kernel $(or $(KERNEL),6.1) $(BUILD)-arm64
built-unit-programs: $(UNIT_TESTS) $(TEST_PROGRAMS)

try-kernel: ## boot Debian's kernel KERNEL (6.1 or 6.12) in qemu and run the main job, kills and a drain there
	@scripts/install-packages build run test data kernel
	@$(AGAIN) built-try-kernel
built-try-kernel: all $(filter %/transport_test %/transport_ends_test %/transport_limits_test %/transport_polling_test %/transport_rest_test %/udp_test %/ingest/udp/wait_test %/shm/folder_test,$(UNIT_TESTS))
	@scripts/try-kernel $(or $(KERNEL),6.1) $(BUILD)

crash-sinks: ## 1,000 kills of the sink on each store, under load; KILLS=n for another number
	@scripts/install-packages build run test data xdp
	@MILLRACE_KILLS=$(or $(KILLS),1000) $(AGAIN) built-system LIMIT=21600 ONLY="(test_objects or test_objects_stores) and kills"

crash-deliver: ## 500 kills of the stage that delivers, under load, as well as the shorter tests; KILLS=n for another number
	@scripts/install-packages build run test data xdp
	@MILLRACE_KILLS=$(or $(KILLS),500) $(AGAIN) built-system ONLY=test_deliver_crash

crash-packets: ## 50 kills of the stage and 5 of the supervisor while packets come past the kernel, as root; KILLS=n for another number
	@scripts/install-packages build run test data xdp
	@MILLRACE_KILLS=$(or $(KILLS),50) $(AGAIN) built-system LIMIT=3600 ONLY="test_packets and kills"

crash-upgrade: ## 100 restarts of stages, 30 crashes within 2 s and 5 upgrades of everything, under load; RESTARTS=n CRASHES=n UPGRADES=n
	@scripts/install-packages build run test data xdp
	@MILLRACE_RESTARTS=$(or $(RESTARTS),100) MILLRACE_CRASHES=$(or $(CRASHES),30) MILLRACE_UPGRADES=$(or $(UPGRADES),5) \
	  $(AGAIN) built-system LIMIT=3600 ONLY="test_renew and (http or udp or crashes)"

outage-deliver: ## 200,000 postbacks for a receiver that is down for a minute; POSTBACKS=n, DOWN=seconds
	@scripts/install-packages build run test data xdp
	@MILLRACE_OUTAGE_POSTBACKS=$(or $(POSTBACKS),200000) MILLRACE_OUTAGE_S=$(or $(DOWN),60) $(AGAIN) built-system ONLY=receiver_that_is_down

bench-live: ## 1,000 clients of /live: what they cost, and the rate of the pipeline without and with them; CLIENTS=n
	@scripts/install-packages build run test data xdp
	@MILLRACE_LIVE_CLIENTS=$(or $(CLIENTS),1000) $(AGAIN) built-system ONLY=test_live_many
	@cat $(BUILD)/test-output/live-many-clients.txt $(BUILD)/test-output/live-rate.txt

soak: ## everything under load and everything that can break broken at random for SOAK_SECONDS (600), then all accounts
	@scripts/install-packages build run test data xdp
	@MILLRACE_SOAK_S=$(or $(SOAK_SECONDS),600) $(AGAIN) built-system LIMIT=$$(( $(or $(SOAK_SECONDS),600) + 600 )) ONLY=test_soak

asan: ## all unit and system tests under the address and undefined-behaviour sanitizers, in $(BUILD)-asan
	@scripts/install-packages build run test data xdp
	@scripts/fetch-data $(DATA)
	@scripts/fetch-data --tests $(DATA)/tests
	@scripts/fetch-prometheus $(DATA)/tests/prometheus
	@$(AGAIN) $(ASAN) built-asan
built-asan: all $(UNIT_TESTS) $(TEST_PROGRAMS)
	@$(RUN_TESTS) --kinds unit,system --slow 4 $(CHOICE)

fuzz: ## every fuzzer for FUZZ_SECONDS (60)
	@scripts/install-packages build run test
	@$(AGAIN) built-fuzz
built-fuzz: $(FUZZERS)
	@$(RUN_TESTS) --kinds fuzz --fuzz-seconds $(or $(FUZZ_SECONDS),60) $(CHOICE)

lint: ## clang-tidy, cppcheck, clang-format, scripts/check-style, shellcheck and mandoc, in check mode
	@scripts/install-packages build test lint xdp
	@$(AGAIN) built-lint
# The programs are built first because the sources include what is generated.
built-lint: all $(GEN)/metrics.list
	@HEADERS='$(HEADERS)' scripts/lint $(BUILD) $(SOURCES)

bench: ## every benchmark against its reference, in rounds, within MINUTES (20); writes docs/BENCHMARKS.md and its pictures
	@scripts/install-packages build run bench bench-http bench-hop data
	@scripts/fetch-data $(DATA)
	@$(AGAIN) all $(addprefix $(BUILD)/libexec/millrace/,bench-hop bench-http)
	@python3 bench/report --build $(BUILD) --minutes $(or $(MINUTES),20) --raw $(BUILD)/bench.json $(ARGS)

bench-http: ## POST /event against nginx, under wrk; ARGS="..." are passed on
	@scripts/install-packages build run bench-http
	@$(AGAIN) all $(BUILD)/libexec/millrace/bench-http
	@$(BUILD)/libexec/millrace/bench-http $(ARGS)
	@test "$$(id -u)" != 0 || $(BUILD)/libexec/millrace/bench-http --steer $(ARGS)

bench-http-slow: ## a good client during 10,000 idle connections and 1,000 slow ones; ARGS="..." are passed on
	@scripts/install-packages build run bench-http
	@$(AGAIN) all $(BUILD)/libexec/millrace/bench-http-slow
	@$(BUILD)/libexec/millrace/bench-http-slow $(ARGS)

docs: $(DOCUMENT) ## renew the generated blocks of the documents
	@scripts/check-generated --write $(DOCUMENT)

install: all ## install under DESTDIR/PREFIX
	@BUILD=$(BUILD) PREFIX=$(PREFIX) LIBDIR=$(LIBDIR) DESTDIR=$(DESTDIR) VERSION=$(VERSION) scripts/install-tree $(PROGRAMS)

clean: ## remove $(BUILD) and its variants
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-clang

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' mk/targets.mk | expand -t 17
