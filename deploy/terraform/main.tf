# An AWS load balancer in front of portals: TLS on 443, and rules for the paths that callers use. Whatever is not in a
# rule gets 404 from the load balancer.

terraform {
  required_version = ">= 1.5.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.80"
    }
  }
}

locals {
  # A rule takes at most five conditions, so that each holds up to four paths.
  paths = {
    mlflow = ["/api/mlflow/*", "/mlflow", "/mlflow/*", "/ajax-api/*"]
    health = ["/health", "/health/*"]
    api    = ["/api/*"]
    pages  = ["/", "/account*", "/admin*", "/docs*"]
    bare   = ["/version", "/v1/traces"] # MLflow clients whose tracking URI has no path
    assets = ["/static/*", "/favicon.ico", "/leaks"]
  }
}

resource "aws_security_group" "load_balancer" {
  name_prefix = "${var.name}-lb-"
  description = "HTTPS from callers to the load balancer"
  vpc_id      = var.vpc_id

  ingress {
    description = "HTTPS"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = var.caller_networks
  }

  egress {
    description     = "Portals"
    protocol        = "tcp"
    from_port       = var.port
    to_port         = var.port
    security_groups = [var.portal_security_group]
  }

  lifecycle {
    create_before_destroy = true
  }
}

# Any caller of the portal's port can send X-Forwarded-For: only the load balancer may reach it.
resource "aws_security_group_rule" "portal" {
  description              = "The load balancer"
  type                     = "ingress"
  protocol                 = "tcp"
  from_port                = var.port
  to_port                  = var.port
  security_group_id        = var.portal_security_group
  source_security_group_id = aws_security_group.load_balancer.id
}

resource "aws_lb" "portal" {
  name               = var.name
  load_balancer_type = "application"
  internal           = var.internal
  subnets            = var.subnets
  security_groups    = [aws_security_group.load_balancer.id]

  # Shorter than the 75 s for which the portal keeps an idle connection; otherwise the load balancer sends a request
  # on a connection that the portal is closing, and its caller gets 502. It limits stalled transfers, not long ones.
  idle_timeout = 70
  # The portal refuses ambiguous requests itself, and says why; "strictest" would break file names with odd characters.
  desync_mitigation_mode     = "defensive"
  drop_invalid_header_fields = false
  # TRUSTED_PROXIES=1 relies on "append": the load balancer adds the address that it sees.
  xff_header_processing_mode = "append"
  enable_http2               = true
  enable_deletion_protection = true
}

resource "aws_lb_target_group" "portal" {
  name        = var.name
  vpc_id      = var.vpc_id
  port        = var.port
  protocol    = "HTTP"
  target_type = var.target_type

  # DRAIN_SECONDS and 20 s. A portal that stops responds to /health/ready with 503 at once.
  deregistration_delay          = 50
  load_balancing_algorithm_type = "least_outstanding_requests"

  health_check {
    path                = "/health/ready"
    matcher             = "200"
    interval            = 5
    timeout             = 4
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.portal.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      status_code  = "404"
      message_body = "not found"
    }
  }
}

resource "aws_lb_listener_rule" "paths" {
  for_each     = local.paths
  listener_arn = aws_lb_listener.https.arn

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.portal.arn
  }

  condition {
    path_pattern {
      values = each.value
    }
  }
}
