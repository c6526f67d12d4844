# docker build -t voxelcast . && docker run --rm -v "$PWD:/work" voxelcast run my_study.yaml
# With a GPU: docker run --gpus all ...
FROM python:3.12-slim
COPY requirements/base.txt /src/requirements/base.txt
RUN pip install --no-cache-dir --require-hashes -r /src/requirements/base.txt
COPY pyproject.toml README.md LICENSE /src/
COPY voxelcast /src/voxelcast
RUN pip install --no-cache-dir --no-deps --no-build-isolation /src && pip install --no-cache-dir nibabel nilearn
WORKDIR /work
ENTRYPOINT ["voxelcast"]
