# make            build
# make install    install what was built (DESTDIR, prefix)
# make install-fleet   the same of wardend-fleet
# make check      all tests, including those in booted machines if this machine can boot them
# make demo       shows the main function on a freshly booted machine
# make lab        a root shell in such a machine (RELEASE=debian12, debian13 or debian14)
# make deb, rpm   packages, in target/package (REVISION=1)
# make lint       runs lintian and rpmlint on these packages
# make licenses   checks the licenses and sources of the dependencies
# make msrv       checks the claimed minimum Rust version
# make bench      measures the performance, beside a lower bound
# make fuzz       gives every fuzz target any bytes for FUZZ_SECONDS (60) each

prefix ?= /usr
bindir ?= $(prefix)/bin
libexecdir ?= $(prefix)/libexec
vendordir ?= $(prefix)/lib/wardend
unitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
presetdir ?= $(prefix)/lib/systemd/system-preset
catalogdir ?= $(prefix)/lib/systemd/catalog
datadir ?= $(prefix)/share
bashcompdir ?= $(datadir)/bash-completion/completions
zshcompdir ?= $(datadir)/zsh/site-functions
fishcompdir ?= $(datadir)/fish/vendor_completions.d
mandir ?= $(datadir)/man
RELEASE ?= debian13
CARGO ?= cargo

# Where the programs are that `make install` installs.
WARDEND_BINDIR_BUILT ?= target/release

# Programs look there for the vendor's files.
ifneq ($(vendordir),/usr/lib/wardend)
export WARDEND_VENDOR_DIRECTORY = $(vendordir)
endif

# The tools that build packages, check licenses and fuzz: exactly these versions, in target/tools.
CARGO_DEB = 3.8.0
CARGO_RPM = 0.21.1
CARGO_DENY = 0.20.2
CARGO_FUZZ = 0.13.2
REVISION ?= 1

.PHONY: all install install-page install-fleet stage deb rpm package-deb package-rpm package-fleet-deb package-fleet-rpm lint check licenses msrv demo lab bench fuzz needs

all:
	$(CARGO) build --release --locked --bins

install: install-page
	@for program in wardend wardend-cut wardend-file wardend-notify wardenctl; do \
		test -x $(WARDEND_BINDIR_BUILT)/$$program || { echo "make: $$program is not built yet; run 'make' first" >&2; exit 1; }; \
	done
	install -D -m 755 $(WARDEND_BINDIR_BUILT)/wardend $(DESTDIR)$(libexecdir)/wardend
	install -D -m 755 $(WARDEND_BINDIR_BUILT)/wardend-cut $(DESTDIR)$(libexecdir)/wardend-cut
	install -D -m 755 $(WARDEND_BINDIR_BUILT)/wardend-file $(DESTDIR)$(libexecdir)/wardend-file
	install -D -m 755 $(WARDEND_BINDIR_BUILT)/wardend-notify $(DESTDIR)$(libexecdir)/wardend-notify
	install -D -m 755 $(WARDEND_BINDIR_BUILT)/wardenctl $(DESTDIR)$(bindir)/wardenctl
	install -D -m 644 units/wardend.conf $(DESTDIR)$(vendordir)/wardend.conf
	install -D -m 644 -t $(DESTDIR)$(vendordir)/filters filters/*.toml
	install -D -m 644 units/wardend.service $(DESTDIR)$(unitdir)/wardend.service
	sed -i 's|/usr/libexec|$(libexecdir)|; s|/usr/bin|$(bindir)|' $(DESTDIR)$(unitdir)/wardend.service
	install -D -m 644 units/wardend-metrics.socket $(DESTDIR)$(unitdir)/wardend-metrics.socket
	install -D -m 644 units/wardend-metrics@.service $(DESTDIR)$(unitdir)/wardend-metrics@.service
	sed -i 's|/usr/bin|$(bindir)|' $(DESTDIR)$(unitdir)/wardend-metrics@.service
	install -D -m 644 units/wardend-metrics-file.timer $(DESTDIR)$(unitdir)/wardend-metrics-file.timer
	install -D -m 644 units/wardend-metrics-file.service $(DESTDIR)$(unitdir)/wardend-metrics-file.service
	sed -i 's|/usr/bin|$(bindir)|' $(DESTDIR)$(unitdir)/wardend-metrics-file.service
	install -D -m 644 units/wardend-addresses.socket $(DESTDIR)$(unitdir)/wardend-addresses.socket
	install -D -m 644 units/wardend-addresses@.service $(DESTDIR)$(unitdir)/wardend-addresses@.service
	sed -i 's|/usr/bin|$(bindir)|' $(DESTDIR)$(unitdir)/wardend-addresses@.service
	install -D -m 644 units/wardend-resolve.socket $(DESTDIR)$(unitdir)/wardend-resolve.socket
	install -D -m 644 units/wardend-resolve@.service $(DESTDIR)$(unitdir)/wardend-resolve@.service
	sed -i 's|/usr/bin|$(bindir)|' $(DESTDIR)$(unitdir)/wardend-resolve@.service
	install -D -m 644 units/wardend-cut.socket $(DESTDIR)$(unitdir)/wardend-cut.socket
	install -D -m 644 units/wardend-cut@.service $(DESTDIR)$(unitdir)/wardend-cut@.service
	sed -i 's|/usr/libexec|$(libexecdir)|' $(DESTDIR)$(unitdir)/wardend-cut@.service
	install -D -m 644 units/wardend-file@.service $(DESTDIR)$(unitdir)/wardend-file@.service
	sed -i 's|/usr/libexec|$(libexecdir)|' $(DESTDIR)$(unitdir)/wardend-file@.service
	for unit in notify.service notify@.service notify@mail.service notify@webhook.service; do \
		install -D -m 644 units/wardend-$$unit $(DESTDIR)$(unitdir)/wardend-$$unit || exit; \
		sed -i 's|/usr/libexec|$(libexecdir)|' $(DESTDIR)$(unitdir)/wardend-$$unit || exit; \
	done
	install -D -m 644 -t $(DESTDIR)$(unitdir) units/wardend-digest.timer units/wardend-digest.service
	sed -i 's|/usr/bin|$(bindir)|' $(DESTDIR)$(unitdir)/wardend-digest.service
	install -D -m 644 units/wardend.sysusers $(DESTDIR)$(sysusersdir)/wardend.conf
	install -D -m 644 units/wardend.preset $(DESTDIR)$(presetdir)/80-wardend.preset
	install -D -m 644 units/wardend.catalog $(DESTDIR)$(catalogdir)/wardend.catalog
	install -D -m 644 dbus/org.wardend1.conf $(DESTDIR)$(datadir)/dbus-1/system.d/org.wardend1.conf
	install -D -m 644 dbus/org.wardend1.service $(DESTDIR)$(datadir)/dbus-1/system-services/org.wardend1.service
	install -D -m 644 -t $(DESTDIR)$(datadir)/dbus-1/interfaces dbus/org.wardend1.*.xml
	install -D -m 644 dbus/org.wardend1.policy $(DESTDIR)$(datadir)/polkit-1/actions/org.wardend1.policy
	@# polkitd reads a rule as soon as it has its name, and not again when it may be read.
	install -D -m 644 dbus/50-wardend.rules $(DESTDIR)$(datadir)/polkit-1/rules.d/.50-wardend.rules
	mv $(DESTDIR)$(datadir)/polkit-1/rules.d/.50-wardend.rules $(DESTDIR)$(datadir)/polkit-1/rules.d/50-wardend.rules
	install -D -m 644 completions/wardenctl.bash $(DESTDIR)$(bashcompdir)/wardenctl
	install -D -m 644 completions/wardenctl.zsh $(DESTDIR)$(zshcompdir)/_wardenctl
	install -D -m 644 completions/wardenctl.fish $(DESTDIR)$(fishcompdir)/wardenctl.fish
	for page in man/*.[1578]; do install -D -m 644 -t $(DESTDIR)$(mandir)/man$${page##*.} $$page || exit; done

# The page in Cockpit, which has a package of its own.
install-page:
	install -D -m 644 -t $(DESTDIR)$(datadir)/cockpit/wardend cockpit/wardend/*
	install -D -m 644 cockpit/org.wardend.cockpit.metainfo.xml $(DESTDIR)$(datadir)/metainfo/org.wardend.cockpit.metainfo.xml

# wardend-fleet, which has a package of its own.
install-fleet:
	@test -x $(WARDEND_BINDIR_BUILT)/wardend-fleet || { echo "make: wardend-fleet is not built yet; run 'make' first" >&2; exit 1; }
	install -D -m 755 $(WARDEND_BINDIR_BUILT)/wardend-fleet $(DESTDIR)$(libexecdir)/wardend-fleet
	install -D -m 644 fleet/fleet.conf $(DESTDIR)$(vendordir)/fleet.conf
	install -D -m 644 fleet/units/50-fleet.conf $(DESTDIR)$(vendordir)/wardend.conf.d/50-fleet.conf
	install -D -m 644 fleet/units/wardend-fleet.service $(DESTDIR)$(unitdir)/wardend-fleet.service
	sed -i 's|/usr/libexec|$(libexecdir)|' $(DESTDIR)$(unitdir)/wardend-fleet.service
	install -D -m 644 fleet/units/wardend-fleet.sysusers $(DESTDIR)$(sysusersdir)/wardend-fleet.conf
	install -D -m 644 fleet/units/wardend-fleet.preset $(DESTDIR)$(presetdir)/80-wardend-fleet.preset
	install -D -m 644 fleet/dbus/org.wardend1.Fleet.conf $(DESTDIR)$(datadir)/dbus-1/system.d/org.wardend1.Fleet.conf
	install -D -m 644 -t $(DESTDIR)$(datadir)/dbus-1/interfaces fleet/dbus/org.wardend1.Fleet.xml
	@# As the rules of wardend.
	install -D -m 644 fleet/dbus/50-wardend-fleet.rules $(DESTDIR)$(datadir)/polkit-1/rules.d/.50-wardend-fleet.rules
	mv $(DESTDIR)$(datadir)/polkit-1/rules.d/.50-wardend-fleet.rules $(DESTDIR)$(datadir)/polkit-1/rules.d/50-wardend-fleet.rules
	for page in fleet/man/*.[58]; do install -D -m 644 -t $(DESTDIR)$(mandir)/man$${page##*.} $$page || exit; done

# What a package holds: what `make install` installs, without symbols.
stage:
	rm -rf $(KIND_ROOT)
	mkdir -p target/package
	$(MAKE) --no-print-directory install prefix=/usr DESTDIR=$(KIND_ROOT)
	rm -rf $(KIND_ROOT)/usr/share/cockpit $(KIND_ROOT)/usr/share/metainfo
	strip --strip-unneeded $(KIND_ROOT)/usr/libexec/wardend $(KIND_ROOT)/usr/libexec/wardend-cut $(KIND_ROOT)/usr/libexec/wardend-file $(KIND_ROOT)/usr/libexec/wardend-notify $(KIND_ROOT)/usr/bin/wardenctl

lint: deb rpm
	lintian --fail-on error,warning target/package/wardend_*-$(REVISION)_*.deb target/package/cockpit-wardend_*-$(REVISION)_all.deb target/package/wardend-fleet_*-$(REVISION)_*.deb
	rpmlint --config packaging/rpm/rpmlint.toml target/package/wardend-*-$(REVISION).*.rpm target/package/cockpit-wardend-*-$(REVISION).*.rpm target/package/wardend-fleet-*-$(REVISION).*.rpm

deb: all
	@$(MAKE) --no-print-directory package-deb package-fleet-deb

rpm: all
	@$(MAKE) --no-print-directory package-rpm package-fleet-rpm

# The packages of what is built already (WARDEND_BINDIR_BUILT), as the lab takes them.
package-deb:
	@$(MAKE) --no-print-directory stage KIND_ROOT=target/package/deb zshcompdir=/usr/share/zsh/vendor-completions
	install -D -m 644 packaging/deb/lintian-overrides target/package/deb/usr/share/lintian/overrides/wardend
	@packaging/cockpit-deb $(REVISION)
	@packaging/tool cargo-deb $(CARGO_DEB)
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) deb --quiet --no-build --no-strip --locked $(DEB_OPTIONS) --deb-revision $(REVISION) --output target/package/

package-rpm:
	@$(MAKE) --no-print-directory stage KIND_ROOT=target/package/rpm
	@$(MAKE) --no-print-directory install-page prefix=/usr DESTDIR=target/package/rpm
	gzip --best --no-name target/package/rpm/usr/share/man/man*/*
	@packaging/tool cargo-generate-rpm $(CARGO_RPM)
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) generate-rpm --set-metadata 'release = "$(REVISION)"' --output target/package/
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) generate-rpm --variant cockpit --arch noarch --set-metadata 'release = "$(REVISION)"' --output target/package/

package-fleet-deb:
	@packaging/fleet-deb $(REVISION)

package-fleet-rpm:
	rm -rf target/package/fleet-rpm
	@$(MAKE) --no-print-directory install-fleet prefix=/usr DESTDIR=target/package/fleet-rpm
	strip --strip-unneeded target/package/fleet-rpm/usr/libexec/wardend-fleet
	gzip --best --no-name target/package/fleet-rpm/usr/share/man/man*/*
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) generate-rpm --package fleet --set-metadata 'release = "$(REVISION)"' --output target/package/

needs:
	@tests/needs

# What may be linked into wardend, and from where (deny.toml). No network is needed once the crates are fetched.
licenses:
	@packaging/tool cargo-deny $(CARGO_DENY) --no-default-features
	$(CARGO) fetch --quiet --locked
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) deny --offline --locked --log-level error check licenses bans sources

msrv:
	@tests/msrv

check: needs
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --test lab --example lab -- -D warnings
	@$(MAKE) --no-print-directory licenses msrv
	$(CARGO) test --locked
	WARDEND_HISTORIES=100000 $(CARGO) test --locked --release --package wardend --lib model
	@tests/lab/check

demo: needs
	@tests/lab/run-demo $(RELEASE)

lab: needs
	@tests/lab/shell $(RELEASE)

# A stable compiler does, because there is no unsafe code for a sanitizer to watch. What is found is in fuzz/artifacts,
# and what was learnt in fuzz/corpus.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
fuzz:
	@packaging/tool cargo-fuzz $(CARGO_FUZZ)
	cd fuzz && PATH="$(CURDIR)/target/tools/bin:$$PATH" && for target in $(FUZZ_TARGETS); do \
		case $$target in filter) seeds=../filters ;; fail2ban) seeds=../tests/import ;; *) seeds= ;; esac; \
		mkdir -p corpus/$$target && \
		RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Clink-arg=-Wl,--unresolved-symbols=ignore-all \
		$(CARGO) fuzz run --sanitizer none $$target corpus/$$target $$seeds -- -max_total_time=$(FUZZ_SECONDS) || exit; \
	done

bench: needs
	$(CARGO) bench --locked --bench parts --bench replay --bench many --bench state
	@tests/lab/run-latency
	@tests/lab/run-scale
