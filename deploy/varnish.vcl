vcl 4.1;
# Varnish in front of the portal, behind a proxy that terminates TLS. Set TRUSTED_PROXIES=2,
# PUBLIC_URL=https://registry.example. Varnish caches only the portal's own files: every other response says
# "Cache-Control: private, no-store".
backend hokusai {
    .host = "127.0.0.1";
    .port = "8000";
    .first_byte_timeout = 300s;
    .between_bytes_timeout = 300s;
    .probe = { .url = "/health/ready"; .interval = 5s; }
}

sub vcl_recv {
    if (req.url ~ "^/metrics") {
        return (synth(404));    # Prometheus scrapes the portal directly
    }
    if (req.url !~ "^/static/") {
        return (pass);
    }
}
