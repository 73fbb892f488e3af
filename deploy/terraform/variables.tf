variable "name" {
  description = "The name of the load balancer and of its target group; at most 32 characters."
  type        = string
  default     = "hokusai-portal"
}

variable "vpc_id" {
  description = "The VPC of the portals."
  type        = string
}

variable "subnets" {
  description = "Subnets of the load balancer, in at least two availability zones."
  type        = list(string)
}

variable "internal" {
  description = "Whether only callers inside the VPC reach the load balancer."
  type        = bool
  default     = true
}

variable "caller_networks" {
  description = "Networks that may call port 443."
  type        = list(string)
}

variable "certificate_arn" {
  description = "The certificate of PUBLIC_URL's host, in ACM."
  type        = string
}

variable "portal_security_group" {
  description = "The security group of the portals."
  type        = string
}

variable "port" {
  description = "The portals' PORT."
  type        = number
  default     = 8000
}

variable "target_type" {
  description = "instance, or ip for ECS on Fargate and for pods."
  type        = string
  default     = "ip"
}
