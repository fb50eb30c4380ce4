# The catalog's image, after make catalog; `make catalog-image` makes the same without a container engine and takes what is said here.
FROM quay.io/operator-framework/opm:v1.61.0
COPY dist/catalog /configs
ENV HOME=/tmp
LABEL operators.operatorframework.io.index.configs.v1=/configs
USER 65532:65532
ENTRYPOINT ["/bin/opm"]
CMD ["serve", "/configs"]
