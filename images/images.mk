# Container images, included by the Makefile: `make images`.
IMAGE_PACKAGES := $(BUILD_PACKAGES) buildah python3
# What `make test` needs to play pods: catatonit is the pause process of podman's pods.
POD_PACKAGES := buildah catatonit conmon podman runc
IMAGE_TAG ?= $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
IMAGE_DIR ?= $(CURDIR)/target/images
CARGO_TARGET ?= $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)

.PHONY: images
images: ## Both container images FROM scratch, as archives with an SBOM beside each
	@scripts/packages $(IMAGE_PACKAGES)
	cargo build --locked --release -p sidecar -p injector
	@echo "== images"
	@mkdir -p "$(IMAGE_DIR)"
	$(SUDO) images/build images/portreeve.Containerfile "$(CARGO_TARGET)/release/portreeve" 5453 portreeve:$(IMAGE_TAG) --crates sidecar
	$(SUDO) images/build images/injector.Containerfile "$(CARGO_TARGET)/release/portreeve-injector" 65532 portreeve-injector:$(IMAGE_TAG) --crates injector
	@for name in portreeve portreeve-injector; do \
	    rm -f "$(IMAGE_DIR)/$$name.tar" && \
	    $(SUDO) buildah push --quiet $$name:$(IMAGE_TAG) "oci-archive:$(IMAGE_DIR)/$$name.tar:$$name:$(IMAGE_TAG)" || exit 1; \
	done
	images/sbom sidecar "$(CARGO_TARGET)/release/portreeve" >"$(IMAGE_DIR)/portreeve.cdx.json"
	images/sbom injector "$(CARGO_TARGET)/release/portreeve-injector" >"$(IMAGE_DIR)/portreeve-injector.cdx.json"
	@echo "== in $(IMAGE_DIR):"
	@ls -l "$(IMAGE_DIR)"
