output "target_group_arn" {
  description = "Where an ECS service or an autoscaling group registers its portals."
  value       = aws_lb_target_group.portal.arn
}

output "dns_name" {
  description = "The target of the DNS record of PUBLIC_URL's host."
  value       = aws_lb.portal.dns_name
}
