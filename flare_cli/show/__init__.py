"""What people see: pictures, videos, sheets, reports."""
