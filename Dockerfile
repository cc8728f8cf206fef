# The app, its page and its API in one container, for CPU and CUDA. What it serves is on port 7860;
# what it keeps is in /cache (models, decompositions, receipts) and /keys (who may come in).
#
#   docker build -t t2ui .                                    with torch's build for CUDA
#   docker build -t t2ui --build-arg TORCH_INDEX=URL .        URL: the index of torch's CPU builds
#   docker build -t t2ui --build-arg PRELOAD=1 .              the default model is in the image
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 t2ui && install -d -o t2ui /cache /keys /app
WORKDIR /app
ENV PYTHONUNBUFFERED=1 T2UI_CACHE=/cache GRADIO_SERVER_NAME=0.0.0.0 T2UI_LOG_JSON=1

ARG TORCH_INDEX=""
COPY requirements.txt .
RUN if [ -n "$TORCH_INDEX" ]; then PIP_INDEX_URL="$TORCH_INDEX" pip install --no-cache-dir torch; fi \
    && pip install --no-cache-dir -r requirements.txt "mcp>=1.21"

COPY . .
RUN pip install --no-cache-dir --no-deps .
USER t2ui

ARG PRELOAD=0
RUN if [ "$PRELOAD" = 1 ]; then t2ui ask "Hello" --max-new-tokens 1; fi

VOLUME ["/cache", "/keys"]
EXPOSE 7860
HEALTHCHECK --interval=15s --start-period=120s --retries=4 CMD ["python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/health', timeout=5)"]
# Without T2UI_KEYS=/keys/keys.json, or T2UI_OPEN=1, it says that one of them is needed, and ends.
CMD ["t2ui", "serve"]
