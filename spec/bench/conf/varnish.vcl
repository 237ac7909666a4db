vcl 4.1;
backend origin {
    .host = "127.0.0.1";
    .port = "%(origin)";
}
# Nothing is kept: each request goes to the origin, as with the others.
sub vcl_recv {
    return (pass);
}
